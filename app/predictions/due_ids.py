"""Reads which predictions are due for a check or for deletion, in Redis's sets of ids by time."""

from datetime import timedelta
from typing import cast

import redis

from app.predictions import scripts
from app.predictions.due import HORIZON, QUEUE_CHECK
from app.predictions.redis_errors import redis_errors
from app.predictions.redis_keys import EXPIRY, OPEN, WEBHOOKS_DUE


class DueIds:
    """The ids of open and of final predictions, by the time that they are due."""

    def __init__(self, connection: "redis.Redis") -> None:
        self._redis = connection

    def claim_due(self, limit: int) -> list[str]:
        """Claim the ids of open predictions whose next check is due. Each is due again after QUEUE_CHECK."""
        return self._claim(OPEN, limit, HORIZON)

    def claim_expired(self, limit: int) -> list[str]:
        """Claim ids of final predictions whose retention has passed. Each is offered again after QUEUE_CHECK."""
        return self._claim(EXPIRY, limit)

    def count_open(self) -> int:
        """Count the predictions that are not final."""
        with redis_errors():
            return self._redis.zcard(OPEN)

    def count_webhooks(self) -> int:
        """Count the webhooks not yet delivered."""
        with redis_errors():
            return self._redis.zcard(WEBHOOKS_DUE)

    def forget(self, prediction_id: str) -> None:
        """Remove the id of a prediction that has no record from what is checked."""
        pipe = self._redis.pipeline()
        for key in (OPEN, EXPIRY):
            pipe.zrem(key, prediction_id)
        with redis_errors():
            pipe.execute()

    def _claim(self, key: str, limit: int, horizon: timedelta | None = None) -> list[str]:
        with redis_errors():
            ids = scripts.CLAIM_DUE(
                self._redis,
                due=key,
                limit=limit,
                lease_ms=round(QUEUE_CHECK.total_seconds() * 1000),
                horizon_ms=None if horizon is None else round(horizon.total_seconds() * 1000),
            )
        return [i.decode() for i in cast("list[bytes]", ids)]
