"""The Redis users of deploy/redis/users.acl: klein works with them, and they can do nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
import redis
from fastapi.testclient import TestClient

from app.commands.doctor_keys import check_keys
from app.keys import KeyRing
from app.main import create_app
from app.predictions.accounts import Limits
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.maintenance import Maintenance
from app.predictions.prediction import Status
from app.predictions.queue import Queues
from app.predictions.worker_registry import Worker, WorkerCommand, WorkerRegistry
from app.settings import Settings
from app.storage.local import LocalStorage
from tests.support.fake_engine_process import FakeEngine
from tests.support.fakes import ScriptedEngine, a_store, eventually, make_due
from tests.support.redis_server import running_redis
from tests.support.worker_harness import an_engine
from worker.job.attempt_records import AttemptRecords
from worker.job.batching import BatchFinder
from worker.job.generator import Generator
from worker.job.input_files import InputFiles
from worker.job.leases import Leases
from worker.job.lora_files import LoraFiles
from worker.job.publisher import Publisher
from worker.job.queue_worker import open_worker
from worker.job.token import provide_dependencies

USERS = (Path(__file__).parents[2] / "deploy" / "redis" / "users.acl").read_text().splitlines()
ORDER = {"model": "flux-2-klein-4b-text-to-image", "input": {"prompt": "x"}}
PASSWORDS = {"klein-api": "CHANGE-ME-API", "klein-worker": "CHANGE-ME-WORKER"}


@pytest.fixture
def server():
    """A Redis with the users of the file, and the default user to observe it."""
    with running_redis() as server:
        with server.connect() as admin:
            for line in USERS:
                _, name, *rules = line.split()
                if name != "default":
                    admin.execute_command("ACL", "SETUSER", name, *rules)
        yield server


def url(server, user):
    return f"unix://{user}:{PASSWORDS[user]}@{server.socket}"


@pytest.fixture
def worker_connection(server):
    """A connection as the worker's user."""
    with redis.Redis.from_url(url(server, "klein-worker")) as connection:
        yield connection


def test_acl_users_can_run_klein(server, worker_connection, tmp_path):
    """A prediction is created, run by RQ, reconciled, read, listed and cancelled without any denied command."""
    with server.connect() as admin:
        _, key = KeyRing(admin, frozenset()).create("k", None, Limits(per_minute=9, in_flight=9))
    settings = Settings(redis_url=url(server, "klein-api"), data=tmp_path, _env_file=None)
    store, registry, storage = (
        a_store(worker_connection),
        WorkerRegistry(worker_connection),
        LocalStorage(tmp_path / "outputs"),
    )
    registry.announce(
        Worker(name="w", checkpoint=CheckpointKind.DISTILLED, weights="x", revision="1", seen_at=0)
    )
    WorkerRegistry(worker_connection).send("w", WorkerCommand.UNLOAD)
    registry.take_command("w")
    leases = Leases(store)
    publisher = Publisher(store, storage, leases)
    generator = Generator(
        AttemptRecords(store),
        InputFiles(storage, LoraFiles(storage, tmp_path / "loras", 0)),
        lambda _kind: an_engine(ScriptedEngine()),
        leases,
        publisher,
    )
    queues = Queues(worker_connection)
    batches = BatchFinder(store, queues, [replace(FakeEngine.checkpoint, batch=2)])
    worker = open_worker(worker_connection, "w", [CheckpointKind.DISTILLED])
    with TestClient(create_app(settings), headers={"X-API-Key": key}) as client:
        first, second, third = (
            client.post("/v1/prediction", json=ORDER).json()["id"] for _ in range(3)
        )
        make_due(worker_connection, first)
        Maintenance(store, queues, storage).reconcile()
        client.post(f"/v1/prediction/{second}/cancel")
        with provide_dependencies(generator, store.take_next, batches.find_batch_mates):
            worker.work(burst=True, logging_level="CRITICAL")
        eventually(lambda: store.get(first).status.is_final)
        eventually(lambda: store.get(third).status.is_final)  # in the first one's batch
        publisher.close()
        response = client.get(f"/v1/prediction/{first}", params={"wait": 1})
        listed = client.get("/v1/executions").json()
    with server.connect() as admin:
        denied = admin.acl_log()

    assert denied == []
    assert [store.get(i).status for i in (first, second, third)] == [
        Status.SUCCEEDED,
        Status.CANCELLED,
        Status.SUCCEEDED,
    ]
    assert (response.status_code, listed["total_count"]) == (200, 3)
    assert queues.take(CheckpointKind.DISTILLED) is None


@pytest.mark.parametrize("user", PASSWORDS)
@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL",
        "FLUSHDB",
        "CONFIG GET *",
        "CONFIG SET dir /tmp",
        "KEYS *",
        "SAVE",
        "SHUTDOWN",
        "REPLICAOF 10.0.0.1 6379",
        "MODULE LIST",
        "ACL LIST",
        "MONITOR",
        "SET other 1",
        "GET other",
        "PUBLISH other 1",
        "EVAL return(redis.call('GET','other')) 0",
        "SCRIPT FLUSH",
        "SCRIPT KILL",
        "FUNCTION FLUSH",
        "SCAN 0",
        "RANDOMKEY",
    ],
)
def test_acl_users_can_do_nothing_else(server, user, command):
    """With the passwords of these users nobody can empty, configure, stop or read the server beyond klein's own keys."""
    with (
        redis.Redis.from_url(url(server, user)) as connection,
        pytest.raises(redis.ResponseError, match=r"(?i)no permission|NOPERM|can't access"),
    ):
        connection.execute_command(*command.split())


@pytest.mark.parametrize(
    "command",
    [
        "HSET klein:keys a b",
        "HGETALL klein:keys",
        "DEL klein:keys",
        "RENAME klein:open klein:keys",
        "EVAL return(redis.call('HGETALL','klein:keys')) 0",
    ],
)
def test_worker_can_neither_read_nor_write_keys(server, command):
    """The worker's user reaches no API key, not even its hash."""
    with (
        redis.Redis.from_url(url(server, "klein-worker")) as connection,
        pytest.raises(redis.ResponseError, match=r"(?i)no permission|NOPERM|can't access"),
    ):
        connection.execute_command(*command.split())


def test_doctor_of_a_worker_misses_no_key(server, tmp_path):
    """A worker gets no API keys on purpose, so the doctor in its container does not warn. That of the API does."""

    def keys_as(user: str) -> list[str]:
        settings = Settings(data=tmp_path, redis_url=url(server, user))
        return [finding.level for finding in check_keys(settings)]

    assert keys_as("klein-worker") == ["ok"]
    assert keys_as("klein-api") == ["warning"]
    with redis.Redis.from_url(url(server, "klein-api")) as connection:
        KeyRing(connection, frozenset()).create("a key", None, Limits())
    assert keys_as("klein-worker") == keys_as("klein-api") == ["ok"]
