"""Graceful shutdown waits for running attempts only as long as they can finish."""

import threading
from datetime import timedelta

import pytest

from worker.graceful_shutdown import GracefulShutdown


class Recorder:
    """Records what a shutdown calls."""

    def __init__(self, remaining_s, grace_s=60.0):
        self.events = []
        self.released = threading.Event()
        self.started = threading.Event()
        self.shutdown = GracefulShutdown(
            timedelta(seconds=grace_s), lambda: remaining_s, self.on_start, self.release_all
        )

    def on_start(self):
        self.events.append("start")
        self.started.set()

    def release_all(self):
        self.events.append("release")
        self.released.set()


@pytest.mark.parametrize("remaining_s", [None, 1.0])
def test_shutdown_waits_for_attempts_that_can_finish(remaining_s):
    """While the estimate fits into the grace period, or there is none, nothing is released."""
    recorder = Recorder(remaining_s)
    assert not recorder.shutdown.is_requested
    recorder.shutdown.request()
    assert recorder.started.wait(30)

    assert recorder.shutdown.is_requested
    assert not recorder.released.wait(0.3)


def test_shutdown_releases_attempts_that_cannot_finish():
    """An estimate beyond the grace period ends the wait at once."""
    recorder = Recorder(remaining_s=1000.0)
    recorder.shutdown.request()

    assert recorder.released.wait(30)
    assert recorder.events == ["start", "release"]


def test_second_request_releases_at_once():
    """A second request ends the wait even if the attempts could finish."""
    recorder = Recorder(remaining_s=1.0)
    recorder.shutdown.request()
    recorder.shutdown.request()

    assert recorder.released.wait(30)


def test_grace_period_ends():
    """Without an estimate all is released before the grace period ends."""
    recorder = Recorder(remaining_s=None, grace_s=0.2)
    recorder.shutdown.request()

    assert recorder.released.wait(30)
