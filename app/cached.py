"""Keeps a value for a moment, for responses that anyone may ask for without a key."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")
KEEP_S = 1.0
SOON_S = 0.02  # what is fresh stays so for this long, in which an event loop uses it


class Cached(Generic[T]):
    """Makes a value at most once in `keep_s`, for all callers. Safe for threads."""

    def __init__(
        self,
        make: Callable[[], T],
        keep_s: float = KEEP_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make = make
        self._keep_s = keep_s
        self._clock = clock
        self._lock = threading.Lock()
        self._made: tuple[float, T] | None = None

    @property
    def is_fresh(self) -> bool:
        """Return whether `get` will return at once for SOON_S."""
        made = self._made
        return made is not None and self._clock() - made[0] < self._keep_s - SOON_S

    def get(self) -> T:
        """Return the value, at most `keep_s` old. Raises what `make` raises, and tries again at the next call."""
        with self._lock:
            if self._made is None or self._clock() - self._made[0] >= self._keep_s:
                value = self._make()
                self._made = self._clock(), value
            return self._made[1]
