"""What one prediction costs in round trips to Redis and in writes that Redis syncs to disk. Counted, not timed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient

from app.keys import KeyRing
from app.main import create_app
from app.predictions.accounts import Limits
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.worker_registry import Worker, WorkerRegistry
from app.settings import Settings
from tests.support.fakes import ScriptedEngine
from tests.support.worker_harness import WorkerHarness
from worker.job.queue_worker import open_worker
from worker.job.token import provide_dependencies

KIND = CheckpointKind.DISTILLED
ORDER = {
    "model": "flux-2-klein-4b-text-to-image",
    "input": {"prompt": "a red house", "image_size": {"width": 64, "height": 64}},
}
BY_TIME = ("CLIENT", "HELLO", "SCRIPT", "TIME", "ZMSCORE", "SUBSCRIBE", "UNSUBSCRIBE")
"""Commands that are sent for a connection, a worker or a second, whatever the number of predictions."""
OF_WORKERS = ("klein:workers", "rq:worker", "klein:keys")
"""Keys of what changes by time, too."""
READS = {"GET", "MGET", "HGETALL", "TIME", "ZRANGE", "ZCARD", "ZSCORE", "EXISTS", "HLEN", "HGET"}
END = "klein:end-of-count"


class Count:
    """What clients send: each script with its commands, and each transaction, is one call."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    @property
    def writes(self) -> int:
        """How many calls Redis syncs to disk before it replies."""
        passive = READS | {"PUBLISH", "EVALSHA", "MULTI", "EXEC"}
        return sum(any(c.split()[0].upper() not in passive for c in call) for call in self.calls)


@contextmanager
def counting(connection) -> Iterator[Count]:
    """Count what all clients send to Redis while the body runs."""
    count = Count()
    begun = threading.Event()

    def listen() -> None:
        is_transaction = False
        with connection.monitor() as monitor:
            begun.set()
            for line in monitor.listen():
                command = line["command"]
                if END in command:
                    return
                if line["client_type"] == "lua" or is_transaction:
                    count.calls[-1].append(command)
                else:
                    count.calls.append([command])
                is_transaction = (is_transaction or command == "MULTI") and command != "EXEC"

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    begun.wait()
    yield count
    connection.get(END)
    thread.join()
    count.calls = [call for call in count.calls if not is_by_time(call)]


def is_by_time(call: list[str]) -> bool:
    """Return whether a call belongs to no prediction."""
    is_outlook = "klein:samples" in call[0] and "klein:turns" in call[0]  # five times a second
    return (
        is_outlook
        or call[0].startswith(BY_TIME)
        or any(key in c for c in call for key in OF_WORKERS)
    )


@pytest.fixture
def system(redis_server, connection, tmp_path):
    """An API and the parts of a worker, in this process. Returns a function that makes and downloads one image."""
    _, key = KeyRing(connection, frozenset()).create("k", None, Limits())
    settings = Settings(redis_url=redis_server.url, data=tmp_path, _env_file=None)
    WorkerRegistry(connection).announce(
        Worker(name="w", checkpoint=KIND, weights="x", revision="1", seen_at=2**40)
    )
    rig = WorkerHarness(connection, tmp_path, ScriptedEngine(steps=4), clock=lambda: 0.0)

    with TestClient(create_app(settings), headers={"X-API-Key": key}) as client:

        def make() -> None:
            created = client.post("/v1/prediction", json=ORDER).json()
            worker = open_worker(connection, "w", [KIND])
            with provide_dependencies(rig.generator, rig.store.take_next):
                worker.work(burst=True, max_jobs=1, logging_level="CRITICAL")
            rig.generator.wait()
            ended = client.get(f"/v1/prediction/{created['id']}?wait=60").json()
            assert ended["status"] == "success"

        make()  # loads the scripts and the key
        yield make
    rig.close()


def test_prediction_costs_few_round_trips(connection, system):
    """A create, the token, the claim, the end and a poll take at most 5 round trips, 4 of them synced writes."""
    with counting(connection) as count:
        system()

    assert len(count.calls) <= 5, "\n".join(call[0][:90] for call in count.calls)
    assert count.writes <= 4, count.calls
