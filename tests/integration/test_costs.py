"""What one prediction costs in round trips to Redis and in writes that Redis syncs to disk. Counted, not timed."""

import pytest
from fastapi.testclient import TestClient

from app.keys import KeyRing
from app.main import create_app
from app.predictions.accounts import Limits
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.queue import recent_key
from app.predictions.speed import Sample, work_of
from app.predictions.worker_registry import Worker, WorkerRegistry
from app.settings import Settings
from tests.support.fakes import ScriptedEngine, a_prediction
from tests.support.redis_calls import counting
from tests.support.worker_harness import WorkerHarness
from worker.job.queue_worker import open_worker
from worker.job.token import provide_dependencies

KIND = CheckpointKind.DISTILLED
ORDER = {
    "model": "flux-2-klein-4b-text-to-image",
    "input": {"prompt": "a red house", "image_size": {"width": 64, "height": 64}},
}


def announce(connection):
    WorkerRegistry(connection).announce(
        Worker(name="w", checkpoint=KIND, weights="x", revision="1", seen_at=2**40)
    )


@pytest.fixture
def system(redis_server, connection, tmp_path):
    """An API and the parts of a worker, in this process. Returns a function that makes and downloads one image."""
    _, key = KeyRing(connection, frozenset()).create("k", None, Limits())
    settings = Settings(redis_url=redis_server.url, data=tmp_path, _env_file=None)
    announce(connection)
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


def test_create_after_a_rest_reads_the_time_once(connection, redis_server, tmp_path):
    """A create asks Redis for the time once, although the record, the workers and the estimate all need it."""
    _, key = KeyRing(connection, frozenset()).create("k", None, Limits())
    settings = Settings(redis_url=redis_server.url, data=tmp_path, _env_file=None)
    announce(connection)
    sample = Sample(work=work_of(a_prediction()), engine_s=1.0, run_s=1.0)
    connection.lpush(recent_key(KIND), sample.encode())

    with (
        TestClient(create_app(settings), headers={"X-API-Key": key}) as client,
        counting(connection) as count,
    ):
        created = client.post("/v1/prediction", json=ORDER)

    assert "X-Expected-Wait" in created.headers
    assert count.by_time.count(["TIME"]) == 1
