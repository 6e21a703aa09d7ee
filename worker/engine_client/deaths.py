"""Counts the deaths of an engine process: how long to wait before the next start, and when it is a crash loop."""

import time
from collections import deque

MAX_DEATHS = 5
"""So many deaths within DEATH_WINDOW_S, without a generated image between them, are a crash loop."""
DEATH_WINDOW_S = 300.0
MAX_PAUSE_S = 30.0


class Deaths:
    """The latest deaths without an image between them."""

    def __init__(self) -> None:
        self._at: deque[float] = deque()
        self._completed = 0

    def count(self, completed: int) -> None:
        """Count a death. `completed` is the number of images until then."""
        now = time.monotonic()
        if completed != self._completed:
            self._at.clear()
        self._completed = completed
        while self._at and now - self._at[0] > DEATH_WINDOW_S:
            self._at.popleft()
        self._at.append(now)

    @property
    def are_a_crash_loop(self) -> bool:
        """Whether another start is useless."""
        return len(self._at) >= MAX_DEATHS

    @property
    def pause_s(self) -> float:
        """How long to wait before the next start. None after the first death, then twice as long each time."""
        return min(2.0 ** (len(self._at) - 1) - 1, MAX_PAUSE_S)
