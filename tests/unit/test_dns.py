"""Tests of DNS lookups with a time limit."""

import asyncio
import socket
import threading

import pytest

from app.dns import DnsLookup
from app.safe_http import SafeHttp, Unreachable


@pytest.fixture
def stuck():
    """A lookup that does not end while the test runs."""
    release = threading.Event()
    yield lambda *_a, **_n: release.wait() and []
    release.set()


def test_an_answer_is_passed_on():
    """A known address gets the system's answer, and an unknown one the system's error."""
    assert DnsLookup()("127.0.0.1", 80, type=socket.SOCK_STREAM)[0][4] == ("127.0.0.1", 80)
    with pytest.raises(socket.gaierror):
        DnsLookup()("256.1.1.1", 80, flags=socket.AI_NUMERICHOST)


def test_what_is_stuck_is_given_up(stuck):
    """A lookup that takes too long raises TimeoutError."""
    with pytest.raises(TimeoutError, match="not found in time"):
        DnsLookup(within_s=0.05, look_up=stuck)("name", 80)


def test_the_stuck_do_not_pile_up(stuck):
    """When the maximum number of lookups is stuck, no more threads start."""
    started = []

    def look_up(name, _port):
        started.append(name)
        return stuck()

    lookup = DnsLookup(within_s=0.05, most=2, look_up=look_up)
    for _ in range(5):
        with pytest.raises(TimeoutError):
            lookup("name", 80)

    assert len(started) == 2


def test_a_request_ends_although_its_name_is_not_found(stuck):
    """A request to a host whose DNS does not respond fails as unreachable."""
    safe_http = SafeHttp((), resolver=DnsLookup(within_s=0.05, look_up=stuck))
    sending = safe_http.send("GET", "http://example.com/", headers={}, max_bytes=1, within_s=1)
    with pytest.raises(Unreachable):
        asyncio.run(sending)
