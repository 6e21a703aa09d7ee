"""Releases what an API key holds for predictions that Redis has lost, by an eviction or a restored backup."""

from typing import cast

import redis

from app.predictions.accounts import held_key, spent_key
from app.predictions.redis_keys import OPEN

CHECK_EVERY_S = 60
PART = 1000


def release_lost(connection: "redis.Redis", key_id: str) -> int:
    """Release the held costs of predictions that are not open, at most once a minute. Return how many."""
    is_due = connection.set(f"klein:held:{key_id}:checked", 1, nx=True, ex=CHECK_EVERY_S)
    if not is_due:
        return 0
    released = 0
    # read before the open ones: what ends meanwhile is released anyway
    ids = cast("list[bytes]", connection.hkeys(held_key(key_id)))
    for start in range(0, len(ids), PART):
        part = ids[start : start + PART]
        scores = connection.zmscore(OPEN, cast("list[str]", part))
        lost = [i for i, score in zip(part, scores, strict=True) if score is None]
        if lost:
            connection.hdel(held_key(key_id), *lost)
            released += len(lost)
    connection.hdel(spent_key(key_id), "reserved")  # the next check of the budget sums the costs
    return released
