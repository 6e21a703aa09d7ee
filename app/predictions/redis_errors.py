"""Translates errors of Redis into Unavailable."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from app.predictions.errors import Unavailable


@contextmanager
def redis_errors() -> Iterator[None]:
    """Raise Unavailable if Redis does not respond, is full or is read-only."""
    try:
        yield
    except redis.RedisError as exc:
        raise Unavailable("Redis does not answer") from exc
