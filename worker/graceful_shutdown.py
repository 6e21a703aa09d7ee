"""Graceful shutdown of a worker: running attempts finish within the grace period or go back to the queue."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from app.logs import log

RESERVE_S = 5.0
"""Part of the grace period that is reserved for storing results and releasing attempts."""
POLL_S = 0.05


class GracefulShutdown:
    """Waits for running attempts after the first stop request. A second request releases them at once."""

    def __init__(
        self,
        grace: timedelta,
        remaining_s: Callable[[], float | None],
        on_start: Callable[[], None],
        release_all: Callable[[], None],
    ) -> None:
        grace_s = grace.total_seconds()
        self._wait_s = grace_s - min(RESERVE_S, grace_s / 2)
        self._remaining_s = remaining_s  # estimated time until the running batch ends
        self._on_start = on_start
        self._release_all = release_all
        self._requested = threading.Event()
        self._hurried = threading.Event()
        self._thread = threading.Thread(target=self._run, name="graceful-shutdown", daemon=True)
        self._thread.start()

    @property
    def is_requested(self) -> bool:
        """Whether this worker takes no more tokens."""
        return self._requested.is_set()

    def request(self) -> None:
        """Start the shutdown, or end its wait if it has started. Safe in a signal handler."""
        (self._hurried if self._requested.is_set() else self._requested).set()

    def _run(self) -> None:
        self._requested.wait()
        log.info("shutdown_started", wait_s=self._wait_s)
        deadline = time.monotonic() + self._wait_s
        self._on_start()
        while not self._hurried.wait(POLL_S):
            left_s = deadline - time.monotonic()
            remaining_s = self._remaining_s()
            if left_s <= 0 or (remaining_s is not None and remaining_s > left_s):
                break
        self._release_all()
