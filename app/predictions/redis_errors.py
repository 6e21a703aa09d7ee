"""Redis being away, said in the words of the domain."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from app.predictions.errors import Unavailable


@contextmanager
def redis_errors() -> Iterator[None]:
    """Translate Redis being away, full or read-only into Unavailable."""
    try:
        yield
    except redis.RedisError as exc:
        raise Unavailable("Redis does not answer") from exc
