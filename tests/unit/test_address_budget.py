"""The budget of an address, on a clock of the test."""

import pytest
from starlette.requests import HTTPConnection

from app.api.address_budget import BURST, MAX_ADDRESSES, PER_SECOND, AddressBudget, is_open
from app.predictions.errors import TooManyRequests


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def connection(address="192.0.2.1"):
    return HTTPConnection({"type": "http", "client": (address, 1), "headers": []})


def served(budget, count, address="192.0.2.1"):
    """Count how many of so many requests at once are served."""
    total = 0
    for _ in range(count):
        try:
            budget.take(connection(address))
        except TooManyRequests:
            continue
        total += 1
    return total


def test_address_has_burst_and_rate():
    """An address gets its burst, then its rate. Others, and the networks of others, have their own."""
    clock = Clock()
    budget = AddressBudget(clock)

    assert served(budget, 1000) == BURST
    clock.now += 1
    assert served(budget, 1000) == PER_SECOND
    assert served(budget, 1000, "192.0.2.2") == BURST
    assert served(budget, 1000, "2001:db8::1") == BURST
    assert served(budget, 1000, "2001:db8::2") == 0


def test_addresses_are_bounded():
    """Any number of addresses takes the memory of some."""
    budget = AddressBudget(Clock())
    for number in range(MAX_ADDRESSES + 100):
        budget.take(connection(f"{number >> 8}.{number & 255}"))

    assert len(budget) == MAX_ADDRESSES


@pytest.mark.parametrize(
    ("method", "path", "is_counted"),
    [
        ("GET", "/metrics", True),
        ("HEAD", "/readyz", True),
        ("GET", "/v1/models/x/schemas/openapi", True),
        ("GET", "/replicate/v1/models/a/b", True),
        ("GET", "/docs", True),
        ("GET", "/livez", False),
        ("GET", "/page/main.js", False),
        ("GET", "/files/p/0.png", False),
        ("POST", "/v1/models/a/b/predictions", False),
    ],
)
def test_costly_open_routes_are_counted(method, path, is_counted):
    """Routes without a key count, except cheap ones and files."""
    assert is_open({"method": method, "path": path}) is is_counted
