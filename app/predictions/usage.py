"""Reads what API keys used: images, megapixels, engine time and dollars, by day (UTC) and model.

The script that makes a prediction a success counts, in `klein:usage:{key}:{day}`: a hash of the FIGURES of each model. It expires.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, cast

import redis

from app.predictions.accounts import NANODOLLARS
from app.predictions.redis_errors import redis_errors
from app.predictions.redis_keys import usage_key

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
        places = [(last - timedelta(days=ago), key_id) for ago in range(days) for key_id in key_ids]
        pipe = self._redis.pipeline(transaction=False)
        for day, key_id in places:
            pipe.hgetall(usage_key(key_id, day))
        with redis_errors():
            hashes = cast("list[dict[bytes, bytes]]", pipe.execute())
        return [
            row
            for (day, key_id), counts in zip(places, hashes, strict=True)
            for row in _rows(day, key_id, counts)
        ]


def _rows(day: date, key_id: str, counts: dict[bytes, bytes]) -> list[DayUsage]:
    figures = {
        model.decode(): dict(zip(FIGURES, map(int, sums.split()), strict=True))
        for model, sums in counts.items()
        if b" " not in model  # of a klein before this form
    }
    return [
        DayUsage(
            day=day,
            key_id=key_id,
            model=model,
            images=of_model["images"],
            megapixels=of_model["pixels"] / 1e6,
            engine_s=of_model["engine_ms"] / 1000,
            dollars=of_model["nanodollars"] / NANODOLLARS,
        )
        for model, of_model in sorted(figures.items())
    ]
