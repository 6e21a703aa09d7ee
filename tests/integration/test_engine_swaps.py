"""Two engines of one worker, as real processes with a fake model: they are swapped if memory does not hold both."""

import pytest
from prometheus_client import REGISTRY

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.worker_registry import WorkerCommand, WorkerState
from worker.engine_client.client import EngineClient
from worker.engine_client.pool import EnginePool, PooledEngine
from worker.engine_client.supervisor import EngineSupervisor
from worker.engines import Order

ORDER = Order(prompt="a house", width=64, height=64, steps=1, guidance=1.0, seeds=(1,))
A, B = CheckpointKind.DISTILLED, CheckpointKind.BASE


class Worker:
    """The engines of a worker. `limit_bytes` is memory for both, as the fake takes none. By default for one engine."""

    def __init__(self, folder, limit_bytes=None):
        self.pool = EnginePool(limit_bytes)
        self.is_idle = True
        self.on_announce = lambda _kind, _state: None
        self.folders = {A: folder / "a", B: folder / "b"}
        self.engines = {kind: self.open(kind) for kind in (A, B)}

    def open(self, kind):
        self.folders[kind].mkdir()
        index = "{}" if kind is B else '{"is_distilled": true}'
        (self.folders[kind] / "model_index.json").write_text(index)
        client = EngineClient(
            self.folders[kind],
            module="tests.support.fake_engine_process",
            on_line=lambda _line: None,
        )
        supervisor = EngineSupervisor(
            client,
            lambda _checkpoint, state: self.on_announce(kind, state),
            stop_worker=lambda: None,
            is_worker_idle=lambda: self.is_idle,
            neighbours=self.pool,
            load_timeout_s=30,
        )
        engine = PooledEngine(client=client, supervisor=supervisor, weights_bytes=1)
        self.pool.add(engine)
        return engine

    def start(self):
        for engine in self.engines.values():
            engine.supervisor.start()

    def generate(self, kind):
        """Generate as the worker does."""
        engine = self.pool.use(kind)
        if not engine.client.is_ready:
            engine.supervisor.ensure_running()
        return engine.client.generate(ORDER, lambda _k, _n: True)

    @property
    def loaded(self):
        return {kind for kind, engine in self.engines.items() if engine.client.is_ready}

    def close(self):
        for engine in self.engines.values():
            engine.supervisor.stop()
            engine.client.close()


@pytest.fixture
def open_worker(tmp_path):
    workers = []

    def open_it(limit_bytes=None):
        workers.append(Worker(tmp_path, limit_bytes))
        return workers[-1]

    yield open_it
    for worker in workers:
        worker.close()


def swaps():
    return REGISTRY.get_sample_value("klein_engine_swaps_total")


def test_models_are_swapped_for_work(open_worker):
    """Each prediction of the other model unloads the one that is loaded. Both generate, and the swaps are counted."""
    worker = open_worker()
    worker.start()
    before = swaps()
    loaded = []
    for kind in (A, A, B):
        assert worker.generate(kind).images
        loaded.append(worker.loaded)

    assert loaded == [{A}, {A}, {B}]
    assert swaps() == before + 2


def test_models_stay_loaded_together(open_worker):
    """Where memory holds both, no prediction unloads a model."""
    worker = open_worker(limit_bytes=1)
    worker.start()
    pids = {kind: engine.client.pid for kind, engine in worker.engines.items()}
    for kind in (A, B, A):
        assert worker.generate(kind).images

    assert {kind: engine.client.pid for kind, engine in worker.engines.items()} == pids


def test_model_that_does_not_fit_beside_another_is_loaded_alone(open_worker):
    """A model that the engine refuses beside another one, against the calculation, is loaded once the other one is unloaded."""
    worker = open_worker(limit_bytes=1)
    refusal = worker.folders[B] / "broken.flag"
    refusal.touch()

    def make_room(kind, state):
        if (kind, state) == (A, WorkerState.ASLEEP):
            refusal.unlink()

    worker.on_announce = make_room
    worker.start()

    assert worker.loaded == {B}
    assert worker.generate(B).images


def test_command_to_load_waits_for_work(open_worker):
    """A command to load a model does not unload another one that has work. It is followed when the work has ended."""
    worker = open_worker()
    worker.start()
    worker.is_idle = False
    supervisor = worker.engines[A].supervisor
    supervisor.request(WorkerCommand.LOAD)
    supervisor.check()
    assert worker.loaded == {B}
    worker.is_idle = True
    supervisor.check()

    assert worker.loaded == {A}
