"""A network that drops all traffic to Redis: nothing answers any more, and no connection is closed."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.chaos.system import System, running_system
from tests.support.api_client import create, get, order, ready_client, until
from tests.support.faulty_proxy import BlackHole, black_hole
from tests.support.webhook_receiver import running_receiver

pytestmark = pytest.mark.timeout(120)
ANSWERED_S = 30  # the promise to clients; a command's own limit is 5 s


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with running_system(workers=1, keys=["a-key-of-more-than-thirty-two-characters"]) as system:
        yield system


@pytest.fixture(scope="module")
def hole(system: System) -> Iterator[BlackHole]:
    """The proxy between Redis and the processes that a test starts."""
    with black_hole(system.redis_socket) as hole:
        yield hole


@pytest.fixture
def client(system: System) -> Iterator[httpx.Client]:
    with ready_client(system.url, "a-key-of-more-than-thirty-two-characters") as client:
        yield client


@pytest.fixture(scope="module")
def behind(system: System, hole: BlackHole) -> Iterator[httpx.Client]:
    """A client of an api that connects to Redis through the proxy."""
    with ready_client(
        system.add_api(REDIS_URL=hole.url), "a-key-of-more-than-thirty-two-characters"
    ) as client:
        yield client


@pytest.mark.slow
def test_unreachable_redis_is_503(
    client: httpx.Client, behind: httpx.Client, hole: BlackHole
) -> None:
    """Each request gets a 503 with Retry-After, in time. Repeated afterwards it creates one prediction."""
    running = create(client, prompt="slow", num_inference_steps=50, num_images=4)
    requests = [
        ("POST", "/v1/prediction"),
        ("POST", "/v1/prediction/run"),
        ("GET", f"/v1/prediction/{running}"),
        ("GET", f"/v1/prediction/{running}?wait=60"),
        ("POST", f"/v1/prediction/{running}/cancel"),
        ("GET", "/v1/executions"),
        ("GET", "/readyz"),
    ]
    headers = {"Idempotency-Key": "one"}

    def ask(method: str, path: str) -> httpx.Response:
        return behind.request(method, path, json=order(), headers=headers, timeout=ANSWERED_S)

    with ThreadPoolExecutor() as callers:
        waits = callers.submit(behind.get, f"/v1/prediction/{running}?wait=60")
        until(lambda: "klein_waiters 1.0" in behind.get("/metrics").text)
        hole.swallow()
        try:
            pending = [callers.submit(ask, method, path) for method, path in requests]
            answers = [waits.result(), *(answer.result() for answer in pending)]
            alive = behind.get("/livez", timeout=ANSWERED_S)
        finally:
            hole.heal()

    assert {a.status_code for a in answers} == {503}
    assert all(int(a.headers["Retry-After"]) > 0 for a in answers)
    assert alive.status_code == 200
    again = [behind.post("/v1/prediction", json=order(), headers=headers) for _ in range(2)]
    assert len({a.json()["predictionID"] for a in again}) == 1
    assert get(behind, again[0].json()["predictionID"], wait=60)["status"] == "success"
    assert get(behind, running, wait=60)["status"] == "success"


@pytest.mark.slow
def test_partitioned_worker_is_replaced(
    system: System, client: httpx.Client, hole: BlackHole
) -> None:
    """A worker that is cut off during a run is replaced. Its late result is never shown, and one webhook is sent."""
    system.add_workers(1, REDIS_URL=hole.url)
    other, behind = system.workers
    until(lambda: any("engine_ready" in line for line in behind.tail))
    with running_receiver() as receiver:
        body = order(prompt="slow", num_inference_steps=50, num_images=2)
        other.signal(signal.SIGSTOP)  # so the worker behind the proxy takes it
        answer = client.post("/v1/prediction", json=body | {"webhook_url": receiver.url})
        prediction_id = answer.json()["predictionID"]
        until(lambda: get(client, prediction_id)["status"] == "processing")
        late = system.record(prediction_id).owner
        hole.swallow()
        try:
            other.signal(signal.SIGCONT)
            prediction = get(client, prediction_id, wait=60)
            until(lambda: receiver.calls)
        finally:
            hole.heal()
        taken_over = system.record(prediction_id)

        assert (prediction["status"], taken_over.attempt) == ("success", 2)
        assert taken_over.owner != late
        other.signal(signal.SIGSTOP)  # so the next one, too, goes to the worker that was cut off
        try:
            assert get(client, create(client), wait=60)["status"] == "success"
        finally:
            other.signal(signal.SIGCONT)
        folder = system.folder / "outputs" / prediction_id
        assert [p.name for p in folder.iterdir()] == [taken_over.owner]
        assert get(client, prediction_id) == prediction
        assert len(receiver.calls) == 1
