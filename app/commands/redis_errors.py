"""Turns Redis errors into one line that says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from app.predictions.errors import Unavailable
from app.settings import Settings


@contextmanager
def redis_error_message(settings: Settings) -> Iterator[None]:
    """Raise click.ClickException if Redis does not answer or its URL is wrong."""
    try:
        yield
    except (Unavailable, ValueError) as exc:
        reason = str(exc.__cause__ or exc).rstrip(".")
        raise click.ClickException(
            f"Redis does not answer at {settings.redis_shown}: {reason}; start `klein up`, or set REDIS_URL"
        ) from None
