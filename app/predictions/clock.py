"""Redis's time, by which everything is dated: the clocks of several hosts need not agree."""

import time
from datetime import UTC, datetime, timedelta

import redis

from app.predictions.redis_errors import redis_errors

READ_EVERY_S = 1.0


class Clock:
    """Asks Redis at most once a second and carries on by this host's monotonic clock."""

    def __init__(self, connection: "redis.Redis") -> None:
        self._redis = connection
        self._read: tuple[float, datetime] | None = None  # when it was read, what it said

    def now(self) -> datetime:
        """Tell Redis's time. Raises Unavailable."""
        at = time.monotonic()
        read = self._read
        if read is None or at - read[0] > READ_EVERY_S:
            with redis_errors():
                seconds, microseconds = self._redis.time()
            at = time.monotonic()
            read = at, datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)
            self._read = read
        return read[1] + timedelta(seconds=at - read[0])


def to_ms(at: datetime) -> int:
    """Write a time as Redis's scores have it: milliseconds since 1970."""
    return round(at.timestamp() * 1000)


def from_ms(ms: int) -> datetime:
    """Read a time that is in milliseconds since 1970."""
    return datetime.fromtimestamp(ms / 1000, UTC)
