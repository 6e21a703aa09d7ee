"""Floods of cheap requests over many connections, and how many of them are answered before one request of a victim is."""

import statistics
import threading

import pytest

from tests.abuse.attacks.attack import Target
from tests.abuse.attacks.floods import CONNECTIONS, OF_KEY, OF_STRANGER, flood
from tests.abuse.parts import ATTACKER, VICTIM, running_parts
from tests.support.api_client import create, until

REQUESTS = 40


@pytest.fixture(scope="module")
def flooded():
    """A system of its own, because a flood takes the budget of this machine's address."""
    with running_parts() as running:
        yield running


@pytest.mark.parametrize(("key", "lines"), [(ATTACKER, OF_KEY), (None, OF_STRANGER)])
def test_flood_goes_before_no_request(flooded, key, lines):
    """While 60 connections send requests without end, a victim's create comes before the next round of them is over."""
    answers = 0

    def count():
        nonlocal answers
        answers += 1

    target = Target(url=flooded.url, key=key)
    attack = threading.Thread(target=flood, args=(target, lines, 300, count))
    attack.start()
    try:
        until(lambda: answers > CONNECTIONS, 60)
        before_create = []
        with flooded.client(VICTIM) as victim:
            for _ in range(REQUESTS):
                before = answers
                create(victim)
                before_create.append(answers - before)
    finally:
        target.stopping.set()
        attack.join()

    assert statistics.median(before_create) < CONNECTIONS / 2
