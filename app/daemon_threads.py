"""Runs work in daemon threads and uses those that are idle again: a stuck one does not keep the process alive."""

import threading
from collections.abc import Callable
from queue import SimpleQueue


class DaemonThreads:
    """As many threads as have ever been busy at once, up to a limit. Without one the caller limits that.

    Starting a thread waits for its first step. On an event loop beside busy threads that takes milliseconds.
    """

    def __init__(self, name: str, limit: int | None = None) -> None:
        self._name = name
        self._limit = limit
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._count = 0
        self._idle_count = 0  # less the work that waits for a thread
        self._lock = threading.Lock()

    @property
    def idle_count(self) -> int:
        """Count the threads that wait for work."""
        return max(0, self._idle_count)

    def run(self, work: Callable[[], None]) -> None:
        """Run this in an idle thread, in a new one, or at the limit once one is idle. It must not raise.

        Raises RuntimeError where no thread can be started.
        """
        with self._lock:
            if self._idle_count > 0 or self._count == self._limit:
                self._idle_count -= 1
                self._work.put(work)
                return
            threading.Thread(
                target=self._repeat, args=(work,), name=self._name, daemon=True
            ).start()
            self._count += 1

    def _repeat(self, work: Callable[[], None]) -> None:
        while True:
            work()
            with self._lock:
                self._idle_count += 1
            work = self._work.get()
