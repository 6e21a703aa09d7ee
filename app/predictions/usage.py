"""Reads what API keys used: images, megapixels, engine time and dollars, by day (UTC) and model.

The script that makes a prediction a success counts, in `klein:spent:{key}`: the FIGURES of each day and model. It removes old days.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, cast

import redis

from app.predictions.accounts import NANODOLLARS, spent_key
from app.predictions.redis_errors import redis_errors

FIGURES = ("images", "pixels", "engine_ms", "nanodollars")


@dataclass(frozen=True, slots=True, kw_only=True)
class DayUsage:
    """What one key used of one model on one day."""

    day: date
    key_id: str
    model: str
    images: int
    megapixels: float
    engine_s: float
    dollars: float  # at the hosted price

    def as_row(self) -> dict[str, Any]:
        """Return the figures as `GET /v1/usage` shows them."""
        return {
            "day": self.day.isoformat(),
            "key": self.key_id,
            "model": self.model,
            "images": self.images,
            "megapixels": round(self.megapixels, 6),
            "engine_s": round(self.engine_s, 3),
            "dollars": round(self.dollars, 9),
        }


class Usage:
    """Reads the usage of keys."""

    def __init__(self, connection: "redis.Redis") -> None:
        self._redis = connection

    def read(self, key_ids: Sequence[str], last: date, days: int) -> list[DayUsage]:
        """Return the usage of keys in the `days` up to `last`, the newest day first. Raises Unavailable."""
        pipe = self._redis.pipeline(transaction=False)
        for key_id in key_ids:
            pipe.hgetall(spent_key(key_id))
        with redis_errors():
            accounts = cast("list[dict[bytes, bytes]]", pipe.execute())
        rows = [
            _row(key_id, field.decode(), sums)
            for key_id, account in zip(key_ids, accounts, strict=True)
            for field, sums in sorted(account.items())
            if b" " in field
        ]
        first = last - timedelta(days=days - 1)
        in_time = [row for row in rows if first <= row.day <= last]
        return sorted(in_time, key=lambda row: row.day, reverse=True)


def _row(key_id: str, field: str, sums: bytes) -> DayUsage:
    day, model = field.split(" ")
    figures = dict(zip(FIGURES, map(int, sums.split()), strict=True))
    return DayUsage(
        day=date.fromisoformat(day),
        key_id=key_id,
        model=model,
        images=figures["images"],
        megapixels=figures["pixels"] / 1e6,
        engine_s=figures["engine_ms"] / 1000,
        dollars=figures["nanodollars"] / NANODOLLARS,
    )
