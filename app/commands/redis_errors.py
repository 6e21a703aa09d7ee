"""Turns Redis errors into one line that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.commands.errors import ServerUnavailable
from app.predictions.errors import Unavailable
from app.settings import Settings


@contextmanager
def report_redis_errors(settings: Settings) -> Iterator[None]:
    """Raise ServerUnavailable if Redis does not answer or its URL is wrong."""
    try:
        yield
    except (Unavailable, ValueError) as exc:
        if settings.redis_url is None and not settings.redis_socket.exists():
            raise ServerUnavailable(
                f"no `klein up` runs with the folder {settings.data.resolve()}; "
                "start one, change to its folder, or set REDIS_URL"
            ) from None
        reason = str(exc.__cause__ or exc).rstrip(".")
        raise ServerUnavailable(
            f"Redis does not answer at {settings.redis_shown}: {reason}; start `klein up`, or set REDIS_URL"
        ) from None
