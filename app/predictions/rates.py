"""Limits the requests of a key per minute, in a moving window that all processes share."""

import math
import time
from functools import cached_property
from typing import TYPE_CHECKING

import redis

from app.predictions.errors import TooManyRequests
from app.predictions.redis_errors import redis_errors

if TYPE_CHECKING:
    from limits.strategies import MovingWindowRateLimiter


class Rates:
    """The moving windows of all keys. `action` says what is limited, with {} for the number."""

    def __init__(
        self,
        connection: "redis.Redis",
        action: str = "create {} predictions",
        prefix: str = "klein:rate",
    ) -> None:
        self._action = action
        self._redis = connection
        self._prefix = prefix

    def count(self, key_id: str, per_minute: int | None) -> None:
        """Count a request of a key. Raises TooManyRequests over the limit, and does not count it then."""
        if per_minute is None:
            return
        from limits import RateLimitItemPerMinute  # noqa: PLC0415 -- as below

        item = RateLimitItemPerMinute(per_minute)
        with redis_errors():
            if self._window.hit(item, key_id):
                return
            reset_at = self._window.get_window_stats(item, key_id).reset_time
        wait_s = max(1, math.ceil(reset_at - time.time()))
        raise TooManyRequests(
            f"the key may {self._action.format(per_minute)} a minute; send it again later",
            retry_after_s=wait_s,
        )

    @cached_property
    def _window(self) -> "MovingWindowRateLimiter":
        # if there is no limit, the library is not loaded: it loads all its storages
        from limits.storage import RedisStorage  # noqa: PLC0415
        from limits.strategies import MovingWindowRateLimiter  # noqa: PLC0415

        pool = self._redis.connection_pool
        return MovingWindowRateLimiter(
            RedisStorage("redis://", connection_pool=pool, key_prefix=self._prefix)
        )
