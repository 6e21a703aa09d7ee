"""The parts of a worker on a real Redis and real files, around an engine that the test chooses."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.maintenance import Maintenance
from app.predictions.queue import Queues
from app.predictions.redis_keys import OPEN
from app.storage.local import LocalStorage
from tests.support.fake_engine_process import FakeEngine
from tests.support.fakes import a_prediction, a_store, end_gap, eventually, make_due
from worker.engine_client.client import EngineClient
from worker.engine_client.pool import PooledEngine
from worker.engine_client.request import EngineRequest, Outcome
from worker.job.attempt import new_owner
from worker.job.attempt_records import AttemptRecords
from worker.job.batching import BatchFinder
from worker.job.generator import Generator
from worker.job.input_files import InputFiles
from worker.job.leases import Leases
from worker.job.lora_files import LoraFiles
from worker.job.publisher import Publisher

QUEUE = "rq:queue:klein-distilled"


class ObservedClient:
    """An engine client that calls the test before each step."""

    def __init__(self, client: Any, before_step: Callable[[int, int, int], None]):
        self._client = client
        self._before_step = before_step

    def __getattr__(self, name):
        return getattr(self._client, name)

    def generate_batch(self, batch: Sequence[EngineRequest]) -> list[Outcome]:
        """Run the batch, and call the test before the worker records a step."""
        observed = [
            replace(request, on_step=partial(self._step, index, request))
            for index, request in enumerate(batch)
        ]
        outcomes: list[Outcome] = self._client.generate_batch(observed)
        return outcomes

    def _step(self, index: int, request: EngineRequest, step: int, steps: int) -> bool:
        self._before_step(index, step, steps)
        return request.on_step(step, steps)


class Supervisor:
    """Restarts the engine as the test says."""

    def __init__(self, ensure_running: Callable[[], None]) -> None:
        self.ensure_running = ensure_running

    def recycle_if_due(self) -> None:
        """Do nothing."""


def an_engine(client: Any, ensure_running: Callable[[], None] = lambda: None) -> PooledEngine:
    """Return an engine with a client that the test chooses."""
    supervisor: Any = Supervisor(ensure_running)
    return PooledEngine(client=client, supervisor=supervisor)


class WorkerHarness:
    """The parts of a worker, wired as in worker/main.py, around an engine.

    Tests may replace `before_step`, called with (index in the batch, step, steps), and `ensure_running`.
    """

    def __init__(  # noqa: PLR0913 -- by name
        self, connection, folder, engine, *, batch=1, clock=time.monotonic, store=None
    ):
        self.connection = connection
        self.store = store or a_store(connection)
        self.storage = LocalStorage(folder / "outputs")
        self.folder = folder / "outputs"
        self.engine = engine
        self.leases = Leases(self.store)
        self.publisher = Publisher(self.store, self.storage, self.leases, pause_s=0.01)
        checkpoint = replace(FakeEngine.checkpoint, batch=batch)
        self.batches = BatchFinder(self.store, Queues(connection), [checkpoint])
        self.revived = 0
        self.before_step = lambda _index, _step, _steps: None
        self.ensure_running = self.revive
        pooled = an_engine(
            ObservedClient(engine, lambda *step: self.before_step(*step)),  # noqa: PLW0108 -- looked up at each call
            lambda: self.ensure_running(),  # noqa: PLW0108 -- as above
        )
        self.generator = Generator(
            AttemptRecords(self.store, clock),
            InputFiles(self.storage, LoraFiles(self.storage, folder / "loras", 0)),
            lambda _kind: pooled,
            self.leases,
            self.publisher,
        )

    def revive(self):
        """Restart a real engine, as the supervisor does."""
        self.revived += 1
        if isinstance(self.engine, EngineClient):
            self.engine.restart()
            self.engine.wait_ready(600)  # only the limit of the test ends a slow start

    def add(self, prediction_id="p", prompt="a red house", **values):
        inputs = {"prompt": prompt, "seed": 7, "image_size": {"width": 64, "height": 64}}
        self.store.add(a_prediction(prediction_id, input=inputs | values))

    def work(self):
        """Take tokens until the queue is empty, as RQ does."""
        while self.connection.lpop(QUEUE):
            self.work_next()
        self.generator.wait()

    def work_next(self):
        """Claim the next prediction and its batch mates, as one token does."""
        if taken := self.store.take_next(CheckpointKind.DISTILLED, new_owner()):
            self.generator.work(taken, self.batches.find_batch_mates)

    def close(self):
        self.generator.release_all()
        self.publisher.close()

    def reconcile(self):
        """End the delays after failed attempts, and reconcile the open predictions."""
        for prediction_id in self.connection.zrange(OPEN, 0, -1):
            end_gap(self.store, prediction_id.decode())
            make_due(self.connection, prediction_id)
        Maintenance(self.store, Queues(self.connection), self.storage).reconcile()

    def ended(self, prediction_id="p"):
        eventually(lambda: self.store.get(prediction_id).status.is_final)
        return self.store.get(prediction_id)

    def files(self):
        return sorted(
            str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file()
        )
