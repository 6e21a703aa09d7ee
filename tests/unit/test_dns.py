"""Tests of DNS lookups with a time limit."""

import asyncio
import socket
import threading

import pytest

from app.dns import DnsLookup, LookupsBusy
from app.safe_http import SafeHttp, Unreachable


@pytest.fixture
def stuck():
    """A lookup that does not end while the test runs."""
    release = threading.Event()
    yield lambda *_a, **_n: release.wait() and []
    release.set()


def look_up(lookup, owner, *arguments, **options):
    return asyncio.run(lookup(owner, *arguments, **options))


def test_lookup_returns_answer_of_system():
    """A known address gets the system's answer, and an unknown one the system's error."""
    known = ("127.0.0.1", 80, 0, socket.SOCK_STREAM)
    assert look_up(DnsLookup(), "key", *known)[0][4] == ("127.0.0.1", 80)
    with pytest.raises(socket.gaierror):
        look_up(DnsLookup(), "key", "256.1.1.1", 80, 0, 0, 0, socket.AI_NUMERICHOST)


def test_stuck_lookup_times_out(stuck):
    """A lookup that takes too long raises TimeoutError."""
    with pytest.raises(TimeoutError):
        look_up(DnsLookup(within_s=0.05, look_up=stuck), "key", "name", 80)


def test_stuck_lookups_do_not_accumulate(stuck):
    """When the lookups of an owner are stuck, no more of its threads start. Another owner's do."""
    started = []

    def record(name, _port):
        started.append(name)
        return stuck()

    lookup = DnsLookup(within_s=0.05, max_pending=8, max_pending_per_owner=2, look_up=record)
    results = []
    for owner in ["attacker"] * 5 + ["victim"]:
        with pytest.raises((TimeoutError, LookupsBusy)) as caught:
            look_up(lookup, owner, owner, 80)
        results.append(caught.type)

    assert results == [TimeoutError] * 2 + [LookupsBusy] * 3 + [TimeoutError]
    assert started == ["attacker", "attacker", "victim"]


def test_lookup_waits_for_slot():
    """A lookup that may wait starts when another one of its owner ends, and gives up after the timeout."""
    release = threading.Event()

    def answer(*_):
        release.wait()
        return ["a"]

    lookup = DnsLookup(within_s=5, max_pending_per_owner=1, look_up=answer)

    async def both():
        first = asyncio.create_task(lookup("key", "one", 80))
        second = asyncio.create_task(lookup("key", "two", 80, is_waiting=True))
        await asyncio.sleep(0)
        release.set()
        return await asyncio.gather(first, second)

    assert asyncio.run(both()) == [["a"], ["a"]]


def test_request_fails_when_dns_is_stuck(stuck):
    """A request to a host whose DNS does not respond fails as unreachable."""
    safe_http = SafeHttp((), lookup=DnsLookup(within_s=0.05, look_up=stuck))
    sending = safe_http.send("GET", "http://example.com/", headers={}, max_bytes=1, within_s=1)
    with pytest.raises(Unreachable):
        asyncio.run(sending)


def test_request_without_slot_is_busy(stuck):
    """A request of an owner without a free lookup is told so, instead of being unreachable."""
    safe_http = SafeHttp((), lookup=DnsLookup(within_s=0.1, max_pending_per_owner=1, look_up=stuck))

    def send():
        return asyncio.run(
            safe_http.send("GET", "http://example.com/", headers={}, max_bytes=1, within_s=9)
        )

    with pytest.raises(Unreachable):
        send()
    with pytest.raises(LookupsBusy, match="host names of this key"):
        send()


def test_address_is_not_looked_up():
    """A URL with an address asks no resolver, and takes no slot."""
    looked_up = []

    def look_up(*name):
        looked_up.append(name)
        return []

    lookup = DnsLookup(look_up=look_up)

    for host in ("8.8.8.8", "[2606:4700:4700::1111]"):
        resolution = asyncio.run(SafeHttp((), lookup=lookup).resolve(f"http://{host}/", "key"))
        assert resolution.addresses == {f"{host.strip('[]')} 80"}

    assert looked_up == []
