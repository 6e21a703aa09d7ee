"""A stranger without a key who floods the routes that need none."""

import re
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import urlsplit

import httpx
import pytest

from app.api.address_budget import BURST
from tests.abuse.parts import ATTACKER, running_parts
from tests.chaos.system import running_system
from tests.support.api_client import order, until

OPEN = ("/metrics", "/v1/models", "/openapi.json", "/readyz")
MANY = 200
SENDERS = 4


@pytest.fixture(scope="module")
def open_parts():
    """A system of its own, because a flood takes the budget of this machine's address."""
    with running_parts() as running:
        yield running


def flood(parts, path, count):
    """Send requests from several connections at once, each in one write. Return how often each status came."""
    address = urlsplit(parts.url)
    request = f"GET {path} HTTP/1.1\r\nHost: klein\r\n"

    def send(_):
        with socket.create_connection((address.hostname, address.port)) as connection:
            last = f"{request}Connection: close\r\n\r\n"
            connection.sendall((f"{request}\r\n" * (count // SENDERS - 1) + last).encode())
            return connection.makefile("rb").read()

    with ThreadPoolExecutor(SENDERS) as threads:
        text = b"".join(threads.map(send, range(SENDERS)))
    return Counter(int(code) for code in re.findall(rb"HTTP/1.1 (\d{3}) ", text))


def test_floods_cost_no_work(open_parts):
    """Hundreds of requests for each open route make Redis work as often as a few seconds have."""
    with open_parts.client(None) as client:
        for path in OPEN:  # made once before
            assert client.get(path).status_code == HTTPStatus.OK
        with open_parts.system.connect() as connection:
            connection.config_resetstat()
            for path in OPEN:
                flood(open_parts, path, MANY)
            commands = connection.info("commandstats")
        readings = sum(
            commands.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("hgetall", "zcard")
        )

    assert readings < MANY / 2


@pytest.mark.parametrize("path", ["/readyz", "/v1/executions"])
def test_address_of_stranger_has_budget(open_parts, path):
    """An address that sends too much without a valid key gets a 429. A caller with a key from the same address is served."""
    codes = flood(open_parts, path, 3 * round(BURST))
    with open_parts.client(ATTACKER) as client:
        served = client.post("/v1/prediction", json=order())
        alive = client.get("/livez")

    assert codes[HTTPStatus.TOO_MANY_REQUESTS] > 0
    assert served.status_code == alive.status_code == HTTPStatus.OK


def test_metrics_have_port_of_their_own():
    """With KLEIN_METRICS_PORT the api serves its metrics there, with those of the system, and not on its own port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running_system(0, [ATTACKER]) as system:
        url = system.add_api(KLEIN_METRICS_PORT=str(port))
        metrics = until(lambda: reached(f"http://127.0.0.1:{port}/metrics"), 60)
        own = until(lambda: reached(f"{url}/metrics"), 60)

    assert metrics.status_code == HTTPStatus.OK
    assert "klein_waiters 0.0" in metrics.text
    assert "klein_redis_up 1.0" in metrics.text
    assert own.status_code == HTTPStatus.NOT_FOUND


def reached(url):
    """Return the answer of a server, or None while it does not listen."""
    with suppress(httpx.TransportError):
        return httpx.get(url, trust_env=False)
    return None
