"""Redis full, read-only, absent and damaged, under the running processes with a fake engine."""

import os
import random
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]  # its stubs are a separate package
import pytest
import redis

from app.predictions.redis_keys import OPEN
from tests.chaos.system import System, running_system
from tests.support.api_client import create, get, is_ready, order, ready_client, until
from tests.support.fakes import a_prediction, a_store
from tests.support.redis_server import RedisServer, running_redis

pytestmark = pytest.mark.timeout(120)
SLOW: dict[str, Any] = {"prompt": "slow", "num_inference_steps": 40}  # two seconds


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with running_system(workers=2, keys=["a-key-of-more-than-thirty-two-characters"]) as system:
        yield system


@pytest.fixture
def client(system: System) -> Iterator[httpx.Client]:
    with ready_client(system.url, "a-key-of-more-than-thirty-two-characters") as client:
        yield client


def is_refused(client: httpx.Client) -> bool:
    """Return whether a create is a 503 with Retry-After."""
    answer = client.post("/v1/prediction", json=order())
    return answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0


def fill(connection: "redis.Redis") -> None:
    used = connection.info("memory")["used_memory"]
    connection.config_set("maxmemory", max(1, used - 1_000_000))


def release(connection: "redis.Redis") -> None:
    connection.config_set("maxmemory", 0)


def follow(connection: "redis.Redis") -> None:
    connection.replicaof("127.0.0.1", "1")  # a primary that does not exist


def lead(connection: "redis.Redis") -> None:
    connection.replicaof("NO", "ONE")


@pytest.mark.parametrize(
    ("harm", "heal"), [(fill, release), (follow, lead)], ids=["full", "read-only"]
)
def test_redis_write_refusal_is_503(
    system: System, client: httpx.Client, harm: Any, heal: Any
) -> None:
    """While Redis refuses writes, creates are 503 and leave nothing, and reads work. Running predictions succeed afterwards."""
    running = create(client, **SLOW)
    until(lambda: get(client, running)["status"] == "processing")
    with system.connect() as connection:
        harm(connection)
        try:
            assert is_refused(client)
            assert get(client, running)["status"] == "processing"
            assert connection.zrange(OPEN, 0, -1) == [running.encode()]
        finally:
            heal(connection)

    assert get(client, running, wait=60)["status"] == "success"
    assert get(client, create(client), wait=60)["status"] == "success"


def test_redis_kills_lose_no_prediction(system: System, client: httpx.Client) -> None:
    """Five kills -9 of Redis under load: each returned id exists and succeeds."""

    def accept(idempotency_key: str) -> str | None:
        answer = client.post(
            "/v1/prediction", json=order(**SLOW), headers={"Idempotency-Key": idempotency_key}
        )
        return str(answer.json()["predictionID"]) if answer.status_code == 200 else None

    accepted = []
    for number in range(5):
        accepted += [until(lambda w=f"{number}-{k}": accept(w)) for k in range(2)]  # type: ignore[misc]  # mypy cannot infer this lambda
        system.redis.signal(signal.SIGKILL)

    assert {get(client, p, wait=60)["status"] for p in accepted} == {"success"}


@pytest.mark.parametrize(
    "with_engine",
    [pytest.param(False, marks=pytest.mark.slow), True],
    ids=["worker", "worker and engine"],
)
def test_paused_worker_is_replaced(system: System, client: httpx.Client, with_engine: bool) -> None:
    """After SIGSTOP beyond the lease another worker finishes the prediction, and the late result is never shown."""
    first, second = system.workers
    os.kill(second.process.pid, signal.SIGSTOP)  # so the first worker takes it
    prediction_id = create(client, prompt="slow", num_inference_steps=50, num_images=2)
    until(lambda: get(client, prediction_id)["status"] == "processing")
    owner = system.record(prediction_id).owner
    os.kill(second.process.pid, signal.SIGCONT)
    still = [psutil.Process(first.process.pid)]
    engine = first.engine()
    if with_engine and engine is not None:
        still.append(engine)
    for process in still:
        process.suspend()
    try:
        prediction = get(client, prediction_id, wait=60)
        taken_over = system.record(prediction_id)
    finally:
        for process in reversed(still):
            process.resume()

    assert (prediction["status"], taken_over.attempt) == ("success", 2)
    assert taken_over.owner != owner
    folder = system.folder / "outputs" / prediction_id
    assert get(client, create(client), wait=30)["status"] == "success"
    until(lambda: [p.name for p in folder.iterdir()] == [taken_over.owner])
    assert get(client, prediction_id) == prediction


def test_rolling_restart_loses_no_request(system: System, client: httpx.Client) -> None:
    """While each worker and the courier are restarted, no request fails and no attempt is lost."""
    accepted = []
    pause = threading.Event()
    for part in (*system.workers, system.courier):
        starts = part.starts
        part.signal(signal.SIGTERM)
        while part.starts == starts:
            accepted.append(create(client, prompt="slow", num_inference_steps=4))
            pause.wait(0.2)  # five a second
        until(lambda: is_ready(client))
    ended = [get(client, p, wait=60)["status"] for p in accepted]

    assert set(ended) == {"success"}
    assert {system.record(p).attempt for p in accepted} == {1}


def test_workers_wait_for_redis(system: System, client: httpx.Client) -> None:
    """After a Redis outage longer than the workers' retries, all workers are back."""
    system.redis.signal(signal.SIGSTOP)
    try:
        until(lambda: not is_ready(client), within_s=60)
    finally:
        system.redis.signal(signal.SIGCONT)
    until(lambda: is_ready(client))

    assert get(client, create(client), wait=60)["status"] == "success"


def test_truncated_append_only_file_keeps_prefix(tmp_path: Path) -> None:
    """A copy of the append-only file, cut at ten random places, loads, and has a prefix of the accepted predictions."""
    chosen = random.Random(5)
    with running_redis() as server:
        with server.connect() as connection:
            store = a_store(connection)
            for number in range(30):
                store.add(a_prediction(f"p{number:02}"))
        original = Path(server.socket).parent / "appendonlydir"
        whole = sum(1 for _ in original.glob("*.incr.aof"))
        assert whole == 1
        for _ in range(10):
            loaded = accepted_in_a_cut_copy(original, chosen)
            assert loaded == [f"p{n:02}" for n in range(len(loaded))]


def accepted_in_a_cut_copy(original: Path, chosen: random.Random) -> list[str]:
    with running_redis() as other:
        other.kill()
        folder = Path(other.socket).parent
        shutil.rmtree(folder / "appendonlydir")
        shutil.copytree(original, folder / "appendonlydir")
        log = next((folder / "appendonlydir").glob("*.incr.aof"))
        os.truncate(log, chosen.randrange(log.stat().st_size))
        restarted = RedisServer(folder)
        restarted.start()
        try:
            with restarted.connect() as connection:
                ids = sorted(key.decode()[17:] for key in connection.keys("klein:prediction:*"))
                # each accept is one transaction: a record has its entry in the set of open ones
                assert sorted(i.decode() for i in connection.zrange(OPEN, 0, -1)) == ids
                return ids
        finally:
            restarted.kill()
