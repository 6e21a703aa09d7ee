"""Describes the start of an engine that a running prediction waits for."""

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStart:
    """A phase of the start, and when the start is going to end."""

    phase: str
    ready_at: datetime | None = None  # estimated from the start before; None means the first one

    @classmethod
    def create(cls, phase: str, left: timedelta | None, now: datetime) -> "EngineStart":
        """Create the phase of a start that is going to end after `left`."""
        return cls(phase=phase, ready_at=None if left is None else now + left)

    def left_s(self, now: datetime) -> float | None:
        """Return the estimated seconds until the engine is ready. None if nothing is known."""
        if self.ready_at is None:
            return None
        return max(0.0, round((self.ready_at - now).total_seconds(), 1))
