"""A deadline: the time that a stage of work or a shutdown must not exceed."""

import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Deadline:
    """A point of time on the monotonic clock."""

    at_s: float

    @classmethod
    def after(cls, seconds: float) -> "Deadline":
        """Create the deadline that is this far ahead."""
        return cls(time.monotonic() + seconds)

    @property
    def left_s(self) -> float:
        """How much time is left. Zero once it has passed."""
        return max(0.0, self.at_s - time.monotonic())

    @property
    def has_passed(self) -> bool:
        """Whether no time is left."""
        return self.left_s == 0.0
