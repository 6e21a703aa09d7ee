"""Many slow clients on the shipped system do not block the others."""

import select
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.support.api_client import LONG, create, get, order, until
from tests.support.klein_server import Klein, running_klein

SLOW = 100
POLLS = 200
CREATES = 20
HEAD = b"POST /v1/prediction HTTP/1.1\r\nHost: klein\r\n"


def connect(klein: Klein, start: bytes) -> socket.socket:
    address = urlsplit(klein.url)
    client = socket.create_connection((address.hostname, address.port))
    client.sendall(start)
    return client


def hung_up(clients: list[socket.socket]) -> int:
    """Send one more header byte to each, and count the closed connections."""
    ended = 0
    for client in clients:
        try:
            client.sendall(b"X: y\r\n")
            readable, _, _ = select.select([client], [], [], 0)
            ended += bool(readable) and client.recv(1000) == b""
        except OSError:
            ended += 1
    return ended


@pytest.mark.usefixtures("busy")
def test_slow_clients_do_not_block_creates(klein: Klein, client: httpx.Client) -> None:
    """With 100 slow clients and 200 long polls creates are answered, and each slow client is disconnected."""
    later = create(client, **LONG)  # waits behind the busy one: no poll ends before the test does
    poll = f"GET /v1/prediction/{later}?wait=60 HTTP/1.1\r\nHost: klein\r\nX-API-Key: {klein.key}\r\n\r\n"
    with ExitStack() as crowd:
        began = time.monotonic()
        slow = [crowd.enter_context(connect(klein, HEAD)) for _ in range(SLOW)]
        polls = [crowd.enter_context(connect(klein, poll.encode())) for _ in range(POLLS)]
        took_s = []
        for _ in range(CREATES):
            sent = time.monotonic()
            waiting = create(client)
            took_s.append(time.monotonic() - sent)
            client.post(f"/v1/prediction/{waiting}/cancel")
        until(lambda: hung_up(slow) == SLOW)
        ended_s = time.monotonic() - began
        answered, _, _ = select.select(polls, [], [], 0)

        print(  # noqa: T201 -- the figures of this run
            f"create p95 {statistics.quantiles(took_s, n=20)[-1] * 1e3:.0f} ms; slow ended after {ended_s:.1f} s"
        )
        assert answered == []
        assert client.get("/livez").status_code == 200
    client.post(f"/v1/prediction/{later}/cancel")


@pytest.fixture(scope="module")
def narrow(tiny_weights: Path) -> Iterator[Klein]:
    """A system with a short queue and a low limit of waiters."""
    with running_klein(
        tiny_weights,
        KLEIN_QUEUE_LIMIT="3",
        KLEIN_KEY_IN_FLIGHT="3",
        KLEIN_WAITERS="2",
        KLEIN_KEY_WAITERS="1",
    ) as running:
        yield running


@pytest.mark.slow
def test_full_queue_and_waiter_limit_are_429(narrow: Klein) -> None:
    """The fourth open prediction is a 429 for any key, and so is a key's second waiter. Requests that do not wait are answered."""
    with narrow.client() as client, narrow.client(narrow.other_key) as other, ExitStack() as crowd:
        ids = [create(client, **LONG) for _ in range(3)]
        full = other.post(
            "/v1/prediction",
            json=order(),
        )
        path = f"/v1/prediction/{ids[0]}"
        request = f"GET {path}?wait=30 HTTP/1.1\r\nHost: klein\r\nX-API-Key: {narrow.key}\r\n\r\n"

        def is_refused() -> bool:
            crowd.enter_context(connect(narrow, request.encode()))  # it or ours came first
            return client.get(f"{path}?wait=0.2").status_code == 429

        until(is_refused)
        second = client.get(f"{path}?wait=0.2")
        run = client.post("/v1/prediction/run", json={"model": "x", "input": {}})

        for answer in (full, second, run):
            assert answer.status_code == 429
            assert answer.json()["error"] == "too many requests"
            assert int(answer.headers["Retry-After"]) >= 1
        assert full.json()["details"] == "the queue is full; send it again later"
        assert get(client, ids[0])["status"] in {"created", "processing"}
        for prediction_id in ids:
            client.post(f"/v1/prediction/{prediction_id}/cancel")
        until(lambda: other.post("/v1/prediction", json=order()).status_code == 200)
