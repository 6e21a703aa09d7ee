"""Translates errors of Redis into Unavailable."""

import redis

from app.predictions.errors import Unavailable


class redis_errors:  # noqa: N801 -- as contextlib names its own
    """Raises Unavailable in place of an error of the body: Redis does not respond, is full or is read-only.

    A generator under `contextmanager` would go through five functions for each command.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, redis.RedisError):
            raise Unavailable("Redis does not answer") from error
