"""Long polls: a request waits only if it asks to, and a client that disconnects is forgotten."""

import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from app.api.state import state_of
from benchmarks.waiters import measure_rest
from tests.support.api_client import create, get, order, until
from tests.support.klein_server import served
from tests.support.redis_server import RedisServer

AT_ONCE_S = 29  # an unwanted wait takes 30 s
WAITER_KB = 25  # of 500 waiters each takes 22 KB, a share of what the first one loads included


def test_get_without_wait_returns_at_once(client: httpx.Client, busy: str) -> None:
    """A queued prediction is returned as created without a wait."""
    started = time.monotonic()
    prediction = get(client, create(client))

    assert prediction["status"] == "created"
    assert time.monotonic() - started < AT_ONCE_S
    client.post(f"/v1/prediction/{prediction['id']}/cancel")


@pytest.mark.parametrize(
    ("query", "prefer"),
    [
        ("?wait=30", ""),
        ("", "wait=30"),
        ("", "respond-async, wait=30"),
        ("", "Wait = 30"),
        ("?wait=30", "wait=0"),
    ],
)
def test_wait_returns_at_end(client: httpx.Client, query: str, prefer: str) -> None:
    """?wait and Prefer: wait return at the end. If both are present ?wait counts."""
    path = f"/v1/prediction/{create(client)}{query}"

    assert client.get(path, headers={"Prefer": prefer}).json()["status"] == "success"


@pytest.mark.parametrize(("query", "prefer"), [("?wait=0.3", ""), ("", "wait=0.3")])
def test_wait_timeout_returns_current_state(
    client: httpx.Client, busy: str, query: str, prefer: str
) -> None:
    """When the time is up the response is a 200 with the current state."""
    started = time.monotonic()
    answer = client.get(f"/v1/prediction/{busy}{query}", headers={"Prefer": prefer})

    assert (answer.status_code, answer.json()["status"]) == (200, "processing")
    assert 0.3 <= time.monotonic() - started < AT_ONCE_S


@pytest.mark.parametrize("prefer", ["wait=soon", "wait=-1", "return=minimal", "wait=0"])
def test_invalid_prefer_header_is_ignored(client: httpx.Client, busy: str, prefer: str) -> None:
    """An invalid Prefer header is ignored: the response comes at once."""
    started = time.monotonic()
    answer = client.get(f"/v1/prediction/{busy}", headers={"Prefer": prefer})

    assert answer.json()["status"] == "processing"
    assert time.monotonic() - started < AT_ONCE_S


def test_cancel_ends_wait(client: httpx.Client, busy: str) -> None:
    """A waiting client is told at once that another one cancelled the prediction."""
    waiting = create(client)
    statuses: list[str] = []
    waiter = threading.Thread(
        target=lambda: statuses.append(get(client, waiting, wait=30)["status"])
    )

    waiter.start()
    client.post(f"/v1/prediction/{waiting}/cancel")
    waiter.join(AT_ONCE_S)

    assert statuses == ["cancelled"]


@pytest.mark.usefixtures("connection")  # an empty Redis
def test_disconnect_frees_waiter(redis_server: RedisServer, tmp_path: Path) -> None:
    """The waiter of a disconnected client is freed while the prediction still runs."""
    with served(redis_server.url, tmp_path) as (app, client):
        service = state_of(app).service
        prediction_id = create(client)
        paths = [f"/v1/prediction/{prediction_id}?wait=60", "/v1/prediction/run"]
        connections = []
        for method, path in zip(("GET", "POST"), paths, strict=True):
            connection = socket.create_connection((client.base_url.host, client.base_url.port))
            body = httpx.Request(method, "http://h", json=order()).content
            head = f"{method} {path} HTTP/1.1\r\nHost: h\r\nX-API-Key: k\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            connections.append(connection)
        until(lambda: service.waiter_count == 2)

        for connection in connections:
            connection.close()

        until(lambda: service.waiter_count == 0)
        assert get(client, prediction_id)["status"] == "created"


@pytest.mark.timeout(60)
def test_waiter_takes_little_memory() -> None:
    """A request that waits keeps neither tasks of its own nor more than a few layers of the API in memory."""
    _share, each_kb = measure_rest(waiters=500, seconds=0.1)

    assert each_kb < WAITER_KB
