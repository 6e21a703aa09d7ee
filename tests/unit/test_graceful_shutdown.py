"""Graceful shutdown waits for running attempts only as long as they can finish, and always ends in time."""

import threading
from datetime import timedelta

import pytest

from worker.graceful_shutdown import GracefulShutdown

STEPS = ["begin", "attempts", "leases", "exit"]


class Recorder:
    """Records the steps of a shutdown. The test may make a step block."""

    def __init__(self, remaining_s=None, grace_s=60.0, blocked=""):
        self.events = []
        self.reached = {step: threading.Event() for step in STEPS}
        self.gate = threading.Event()
        self.blocked = blocked
        self.shutdown = GracefulShutdown(
            timedelta(seconds=grace_s),
            remaining_s=lambda: remaining_s,
            begin=lambda: self.record("begin"),
            release_attempts=lambda: self.record("attempts"),
            release_leases=lambda: self.record("leases"),
            exit_process=lambda: self.record("exit"),
        )

    def record(self, step):
        self.events.append(step)
        self.reached[step].set()
        if step == self.blocked:
            self.gate.wait()


@pytest.mark.parametrize("remaining_s", [None, 1.0])
def test_shutdown_waits_for_attempts_that_can_finish(remaining_s):
    """While the estimate fits into the grace period, or there is none, nothing is released."""
    recorder = Recorder(remaining_s)
    assert not recorder.shutdown.is_requested
    assert recorder.shutdown.request()
    assert recorder.reached["begin"].wait(30)

    assert recorder.shutdown.is_requested
    assert not recorder.reached["attempts"].wait(0.3)


def test_shutdown_releases_attempts_that_cannot_finish():
    """An estimate beyond the grace period ends the wait for the engine at once. Results are still published."""
    recorder = Recorder(remaining_s=1000.0)
    recorder.shutdown.request()

    assert recorder.reached["attempts"].wait(30)
    assert not recorder.reached["leases"].wait(0.3)
    assert recorder.events == ["begin", "attempts"]


def test_second_request_releases_attempts_at_once():
    """A second request ends the wait even if the attempts could finish."""
    recorder = Recorder(remaining_s=1.0)
    assert recorder.shutdown.request()
    assert not recorder.shutdown.request()

    assert recorder.reached["attempts"].wait(30)
    assert not recorder.reached["leases"].wait(0.3)


def test_third_request_releases_results_too():
    """One more request releases the predictions whose results are not published, and ends the process."""
    recorder = Recorder(remaining_s=1.0)
    for _ in range(3):
        recorder.shutdown.request()

    assert recorder.reached["exit"].wait(30)
    assert recorder.events == STEPS


def test_process_ends_within_grace_period():
    """All steps are taken before the grace period ends, although nothing finishes."""
    recorder = Recorder(grace_s=0.5)
    recorder.shutdown.request()

    assert recorder.reached["exit"].wait(30)
    assert recorder.events[:4] == STEPS


@pytest.mark.parametrize("blocked", STEPS[:-1])
def test_blocked_step_does_not_delay_end(blocked):
    """The process ends at the end of the grace period even if a step never returns."""
    recorder = Recorder(grace_s=0.2, blocked=blocked)
    recorder.shutdown.request()

    assert recorder.reached["exit"].wait(30)
    assert "exit" in recorder.events
    recorder.gate.set()
