"""Graceful shutdown of a worker: one order of steps, and one deadline that ends the process whatever it waits for."""

import queue
import threading
import time
from collections.abc import Callable
from datetime import timedelta

from app.logs import log
from worker.deadline import Deadline

RESERVE_S = 5.0
"""Part of the grace period that is reserved for storing results and releasing attempts."""
RELEASE_SHARE = 0.2  # of the reserve, for releasing what could not be stored
POLL_S = 0.05


class GracefulShutdown:
    """Ends the worker within the grace period after the first stop request.

    1. `begin`: the worker takes no more work, and restarts no engine.
    2. The running batch finishes. If it cannot in time, or at a second request, `release_attempts` releases it.
    3. The results of finished batches are stored. At the end of the time for it, `release_leases` releases the rest.
    4. `exit_process`.

    The process ends earlier if its main thread does. It ends at the deadline even if a step has not returned.
    """

    def __init__(  # noqa: PLR0913 -- main wires each step by name
        self,
        grace: timedelta,
        *,
        remaining_s: Callable[[], float | None],
        begin: Callable[[], None],
        release_attempts: Callable[[], None],
        release_leases: Callable[[], None],
        exit_process: Callable[[], None],
    ) -> None:
        self._grace_s = grace.total_seconds()
        self._reserve_s = min(RESERVE_S, self._grace_s / 2)
        self._remaining_s = remaining_s  # estimated time until the running batch ends
        self._begin = begin
        self._release_attempts = release_attempts
        self._release_leases = release_leases
        self._exit_process = exit_process
        self._requests: queue.SimpleQueue[float] = queue.SimpleQueue()  # the time of each
        self.is_requested = False
        """Whether this worker takes no more tokens."""
        threading.Thread(target=self._run, name="graceful-shutdown", daemon=True).start()

    def request(self) -> bool:
        """Start the shutdown, or end its current wait if it has started.

        Returns whether it is the first request. Safe in a signal handler.
        """
        is_first, self.is_requested = not self.is_requested, True
        self._requests.put(time.monotonic())
        return is_first

    def _run(self) -> None:
        deadline = Deadline(self._requests.get() + self._grace_s)
        at_deadline = threading.Timer(deadline.left_s, self._exit_process)
        at_deadline.daemon = True
        at_deadline.start()  # before anything that may block: a log line, or Redis
        log.info("shutdown_started", grace_s=self._grace_s)
        self._begin()
        is_second_request = self._wait_for_engine(deadline)
        if is_second_request:
            deadline = min(deadline, Deadline.after(self._reserve_s))
        self._release_attempts()
        self._wait_for_request(deadline.left_s - self._reserve_s * RELEASE_SHARE)
        log.warning("shutdown_incomplete", left_s=round(deadline.left_s, 1))
        self._release_leases()
        self._exit_process()

    def _wait_for_engine(self, deadline: Deadline) -> bool:
        """Wait as long as the running batch can finish in time. Returns whether another request ended the wait."""
        while (left_s := deadline.left_s - self._reserve_s) > 0:
            remaining_s = self._remaining_s()
            if remaining_s is not None and remaining_s > left_s:
                break
            if self._wait_for_request(min(POLL_S, left_s)):
                return True
        return False

    def _wait_for_request(self, seconds: float) -> bool:
        """Wait this long, or until another request comes. Returns whether one came."""
        try:
            self._requests.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return False
        return True
