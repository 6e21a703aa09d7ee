"""Reads the usage of every API key from Redis, for operators."""

from datetime import UTC, datetime
from typing import Any

from app.commands.redis_errors import report_redis_errors
from app.commands.settings import read_settings
from app.connections import open_redis
from app.keys import KeyRing, configured_keys
from app.predictions.usage import Usage


def read_usage(days: int) -> list[dict[str, Any]]:
    """Return the rows of `GET /v1/usage` for all keys. Raises click.ClickException."""
    settings = read_settings()
    with (
        report_redis_errors(settings),
        open_redis(settings.redis, retry=None) as connection,
    ):
        ring = KeyRing(connection, configured_keys(settings.api_keys, settings.data))
        key_ids = [key.id for key in ring.list()]
        rows = Usage(connection).read(key_ids, datetime.now(UTC).date(), days)
    return [row.as_row() for row in rows]
