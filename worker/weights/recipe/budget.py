"""The time a phase of training may take, and how far it is."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(slots=True, kw_only=True)
class Budget:
    """Counts the time spent training, across interruptions."""

    total: timedelta
    spent: timedelta = timedelta()
    clock_s: Callable[[], float] = time.monotonic
    _since_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._since_s = self.clock_s()

    def tick(self) -> None:
        """Add the time since the last tick to what is spent."""
        now_s = self.clock_s()
        self.spent += timedelta(seconds=now_s - self._since_s)
        self._since_s = now_s

    def pause(self) -> None:
        """Leave out the time since the last tick: it was not training."""
        self._since_s = self.clock_s()

    @property
    def progress(self) -> float:
        """Give the share of the budget that is spent, at most 1."""
        return min(1.0, self.spent / self.total) if self.total else 1.0

    @property
    def is_spent(self) -> bool:
        """Say whether nothing is left."""
        return self.progress >= 1.0


def learning_rate(progress: float, *, steps: int, warmup: int = 20) -> float:
    """Give the factor on the learning rate: a short warm-up, constant, then falling to 2 %."""
    constant_until = 0.6
    factor = min(1.0, (1 - progress) / (1 - constant_until)) if progress > constant_until else 1.0
    return max(0.02, factor) * min(1.0, (steps + 1) / warmup)
