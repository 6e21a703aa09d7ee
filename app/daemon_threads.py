"""Runs work in daemon threads and uses those that are idle again: a stuck one does not keep the process alive."""

import threading
from collections.abc import Callable
from queue import SimpleQueue


class DaemonThreads:
    """As many threads as have ever been busy at once; the caller limits that.

    Starting a thread waits for its first step. On an event loop beside busy threads that takes milliseconds.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._idle_count = 0
        self._lock = threading.Lock()

    @property
    def idle_count(self) -> int:
        """Count the threads that wait for work."""
        return self._idle_count

    def run(self, work: Callable[[], None]) -> None:
        """Run this in an idle thread, or in a new one. It must not raise. Raises RuntimeError where none can be started."""
        with self._lock:
            if self._idle_count > 0:
                self._idle_count -= 1
                self._work.put(work)
                return
        threading.Thread(target=self._repeat, args=(work,), name=self._name, daemon=True).start()

    def _repeat(self, work: Callable[[], None]) -> None:
        while True:
            work()
            with self._lock:
                self._idle_count += 1
            work = self._work.get()
