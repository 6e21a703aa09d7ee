"""Reads Redis's time, so that the clocks of hosts need not agree."""

import time
from datetime import UTC, datetime, timedelta

import redis
import redis.asyncio

from app.cached import SOON_S
from app.predictions.redis_errors import redis_errors

READ_EVERY_S = 3.0
"""Longer than the pause between two announcements of a worker. Each reads the time, so the claim of the next prediction need not."""


def _passed_s() -> float:
    """Return the seconds since this host started, on Linux those in which it slept too."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Clock:
    """Reads the time at most once in three seconds. Between reads it continues with a clock of this host that is never set."""

    def __init__(self, connection: "redis.Redis") -> None:
        self._redis = connection
        self._read: tuple[float, datetime] | None = (
            None  # when it was read, by `_passed_s`, and the time read
        )

    def set(self, now: datetime) -> None:
        """Continue from a time that Redis has just returned."""
        self._read = _passed_s(), now

    @property
    def is_fresh(self) -> bool:
        """Return whether `now` will return without a read for SOON_S."""
        read = self._read
        return read is not None and _passed_s() - read[0] < READ_EVERY_S - SOON_S

    def now(self) -> datetime:
        """Return Redis's time. Raises Unavailable."""
        at = _passed_s()
        read = self._read
        if read is None or at - read[0] > READ_EVERY_S:
            with redis_errors():
                now = _time_of(self._redis.time())
            self.set(now)
            return now
        return read[1] + timedelta(seconds=at - read[0])

    async def refresh(self, shared: "redis.asyncio.Redis") -> None:
        """Read the time if `now` would, on an event loop. Raises Unavailable."""
        if not self.is_fresh:
            with redis_errors():
                self.set(_time_of(await shared.time()))


def _time_of(reply: tuple[int, int]) -> datetime:
    """Convert the seconds and microseconds that Redis returns."""
    return datetime.fromtimestamp(reply[0], UTC) + timedelta(microseconds=reply[1])


def to_ms(at: datetime) -> int:
    """Convert a time to milliseconds since 1970."""
    return round(at.timestamp() * 1000)


def from_ms(ms: int) -> datetime:
    """Convert milliseconds since 1970 to a time."""
    return datetime.fromtimestamp(ms / 1000, UTC)
