"""The end of a worker: what runs may finish if it can within the grace, and goes back to the queue if it cannot."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from app.logs import log

RESERVE_S = 5.0  # of the grace is kept for storing and for giving back
LOOK_S = 0.05


class GracefulShutdown:
    """Told to stop once, it waits as long as that makes sense; told twice, it stops at once."""

    def __init__(
        self,
        grace: timedelta,
        expected_s: Callable[[], float | None],
        begin: Callable[[], None],
        give_back: Callable[[], None],
    ) -> None:
        grace_s = grace.total_seconds()
        self._wait_s = grace_s - min(RESERVE_S, grace_s / 2)
        self._expected_s = expected_s  # until what runs is drawn, where there is an estimate
        self._begin = begin
        self._give_back = give_back
        self._begun = threading.Event()
        self._hurried = threading.Event()
        self._thread = threading.Thread(target=self._run, name="graceful-shutdown", daemon=True)
        self._thread.start()

    @property
    def is_requested(self) -> bool:
        """Say whether this worker takes no more work."""
        return self._begun.is_set()

    def request(self) -> None:
        """Begin, or hurry; safe in a signal handler."""
        (self._hurried if self._begun.is_set() else self._begun).set()

    def _run(self) -> None:
        self._begun.wait()
        log.info("worker_drains", wait_s=self._wait_s)
        ends_at = time.monotonic() + self._wait_s
        self._begin()
        while not self._hurried.wait(LOOK_S):
            left_s = ends_at - time.monotonic()
            expected_s = self._expected_s()
            if left_s <= 0 or (expected_s is not None and expected_s > left_s):
                break
        self._give_back()
