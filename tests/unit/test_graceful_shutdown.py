"""The end of a worker: it waits as long as that makes sense, and no longer."""

import threading
from datetime import timedelta

import pytest

from worker.graceful_shutdown import GracefulShutdown


class Told:
    """What a shutdown did, and when it gave up."""

    def __init__(self, expected_s, grace_s=60.0):
        self.events = []
        self.given_back = threading.Event()
        self.begun = threading.Event()
        self.shutdown = GracefulShutdown(
            timedelta(seconds=grace_s), lambda: expected_s, self.begin, self.end
        )

    def begin(self):
        self.events.append("begin")
        self.begun.set()

    def end(self):
        self.events.append("give back")
        self.given_back.set()


@pytest.mark.parametrize("expected_s", [None, 1.0])
def test_what_may_fit_is_waited_for(expected_s):
    """While the estimate fits, or there is none, nothing is given back."""
    told = Told(expected_s)
    assert not told.shutdown.is_requested
    told.shutdown.request()
    assert told.begun.wait(5)

    assert told.shutdown.is_requested
    assert not told.given_back.wait(0.3)


def test_what_cannot_fit_is_given_back_at_once():
    """An estimate beyond the grace is not waited for."""
    told = Told(expected_s=1000.0)
    told.shutdown.request()

    assert told.given_back.wait(5)
    assert told.events == ["begin", "give back"]


def test_a_second_signal_gives_back_at_once():
    """Told twice, it does not wait for what would fit."""
    told = Told(expected_s=1.0)
    told.shutdown.request()
    told.shutdown.request()

    assert told.given_back.wait(5)


def test_the_grace_ends():
    """Without an estimate it gives back before the grace is over."""
    told = Told(expected_s=None, grace_s=0.2)
    told.shutdown.request()

    assert told.given_back.wait(5)
