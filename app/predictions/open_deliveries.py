"""Limits the webhooks of one API key that are still to be delivered.

The scripts that change predictions and deliveries keep their ids in `klein:webhooks:of:{key}:open`. An older klein does not
remove what it delivers, so a part of the set is checked whenever it would refuse a create.
"""

from typing import cast

import redis

from app.predictions.errors import TooManyRequests
from app.predictions.redis_errors import redis_errors
from app.predictions.redis_keys import WEBHOOKS_DUE, deliveries_key

RETRY_S = 60
CHECKED = 100  # ids at each refusal


class OpenDeliveries:
    """Counts the open deliveries of each key."""

    def __init__(self, connection: "redis.Redis", max_per_key: int) -> None:
        self._redis = connection
        self._max_per_key = max_per_key

    def check(self, key_id: str) -> None:
        """Raise TooManyRequests if a key may not add a webhook."""
        key = f"{deliveries_key(key_id)}:open"
        with redis_errors():
            if self._redis.scard(key) < self._max_per_key or self._remove_ended(key):
                return
        raise TooManyRequests(
            f"the key has {self._max_per_key} webhooks that are not delivered; check its receivers, or send the "
            "request without a webhook URL",
            retry_after_s=RETRY_S,
        )

    def _remove_ended(self, key: str) -> int:
        ids = cast("list[str]", self._redis.srandmember(key, CHECKED))
        due = self._redis.zmscore(WEBHOOKS_DUE, ids) if ids else []
        ended = [i for i, due_ms in zip(ids, due, strict=True) if due_ms is None]
        return self._redis.srem(key, *ended) if ended else 0
