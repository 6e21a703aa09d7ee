"""Decides when an engine without work is unloaded. Pure."""

import time
from collections.abc import Callable


class IdleTimer:
    """Measures how long the engine has had no work."""

    def __init__(
        self, limit_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit_s = limit_s  # None means it stays loaded
        self._clock = clock
        self._completed = 0
        self._since = clock()

    def restart(self) -> None:
        """Measure from now on."""
        self._since = self._clock()

    def look(self, *, is_working: bool, completed: int) -> None:
        """Start again if the engine works, or has completed requests since the last look."""
        if is_working or completed != self._completed:
            self.restart()
        self._completed = completed

    def skip(self, completed: int) -> None:
        """Take this number of completed requests for no work: the last one was a canary."""
        self._completed = completed

    @property
    def has_passed(self) -> bool:
        """Whether the engine has had no work for as long as it may."""
        return self._limit_s is not None and self._clock() - self._since >= self._limit_s
