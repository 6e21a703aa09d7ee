"""A Redis outage of a running system, and its recovery."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.api_client import LONG, create, fetch, get, order, run, until
from tests.support.klein_server import Klein, running_klein
from tests.support.redis_server import RedisServer, running_redis

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def own_redis() -> Iterator[RedisServer]:
    """A Redis that the tests of this file may kill."""
    with running_redis() as server:
        yield server


@pytest.fixture(scope="module")
def outage_klein(own_redis: RedisServer, tiny_weights: Path) -> Iterator[Klein]:
    with running_klein(tiny_weights, REDIS_URL=own_redis.url) as klein:
        yield klein


@pytest.fixture
def outage_client(outage_klein: Klein) -> Iterator[httpx.Client]:
    with outage_klein.client() as client:
        yield client


@pytest.fixture
def away(own_redis: RedisServer) -> Iterator[None]:
    """Keep Redis dead while the test runs."""
    own_redis.kill()
    yield
    own_redis.start()


def is_served(client: httpx.Client) -> bool:
    return client.get("/readyz").status_code == 200


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/prediction"),
        ("POST", "/v1/prediction/run"),
        ("GET", "/v1/prediction/x"),
        ("GET", "/v1/prediction/x?wait=5"),
        ("POST", "/v1/prediction/x/cancel"),
        ("GET", "/v1/executions"),
        ("GET", "/v1/models"),
        ("GET", "/v1/model?slug=x"),
        ("GET", "/v1/models/x"),
        ("GET", "/readyz"),
    ],
)
def test_redis_outage_is_503(outage_client: httpx.Client, method: str, path: str) -> None:
    """Every route that needs Redis answers 503 with Retry-After, within seconds."""

    def refused() -> httpx.Response | None:
        answer = outage_client.request(method, path, json=order(), timeout=30)
        return answer if answer.status_code == 503 else None

    answer = until(refused)  # the list of workers is cached for half a second

    body = answer.json()
    assert body["status"] == 503
    assert body["error"] == body["message"] == "service unavailable"
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["X-Request-Id"]


@pytest.mark.usefixtures("away")
def test_liveness_does_not_need_redis(outage_client: httpx.Client) -> None:
    """Liveness and the check of invalid keys do not depend on Redis."""
    assert outage_client.get("/livez").status_code == 200
    assert outage_client.get("/v1/executions", headers={"X-API-Key": "no"}).status_code == 401


def test_api_recovers_after_redis_outage(
    outage_client: httpx.Client, own_redis: RedisServer
) -> None:
    """After an outage the next requests are served, and earlier predictions are still there."""
    before = run(outage_client)
    own_redis.kill()
    own_redis.start()

    until(lambda: is_served(outage_client))
    assert get(outage_client, before["predictionID"])["output"] == before["output"]
    assert fetch(run(outage_client)["output"])


def test_accepted_predictions_end_after_redis_outage(
    outage_klein: Klein, outage_client: httpx.Client, own_redis: RedisServer
) -> None:
    """A prediction that finished its run while Redis was dead, and one that waited, both succeed."""
    running = create(outage_client, num_inference_steps=50, num_images=4, image_size="square")
    waiting = create(outage_client)
    until(lambda: get(outage_client, running)["status"] == "processing")
    own_redis.kill()
    until(lambda: any("finish_waits_for_redis" in line for line in outage_klein.log))
    own_redis.start()

    until(lambda: is_served(outage_client))
    states = {p: get(outage_client, p, wait=50)["status"] for p in (running, waiting)}
    assert states == {running: "success", waiting: "success"}


def test_cancel_works_after_redis_outage(
    outage_client: httpx.Client, own_redis: RedisServer
) -> None:
    """A prediction that ran through an outage can be cancelled after it, and the worker continues."""
    running = create(outage_client, **LONG)
    until(lambda: get(outage_client, running)["status"] == "processing")
    own_redis.kill()
    own_redis.start()
    until(lambda: is_served(outage_client))

    answer = outage_client.post(f"/v1/prediction/{running}/cancel")

    assert answer.status_code == 200
    assert get(outage_client, create(outage_client), wait=40)["status"] == "success"
