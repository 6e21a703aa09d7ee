"""Reads the ledger: every accepted prediction that has not ended, by the time at which its limits end it.

The scripts that accept, change and delete predictions write it, in `klein:ledger`. Nothing acts on it: it is a check of
what the couriers and workers do.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import cast

import redis

from app.predictions.clock import Clock, from_ms, to_ms
from app.predictions.errors import UnknownPrediction, UnreadableRecord
from app.predictions.prediction import Status
from app.predictions.redis_errors import redis_errors
from app.predictions.redis_keys import LEDGER, record_key
from app.predictions.store import decode

GRACE = timedelta(minutes=15)
"""Beyond its limits a prediction may wait for the batch before it, for an engine that stops, and for the storage."""
MOST = 1000


class EntryState(StrEnum):
    """What became of a prediction that has not ended in time."""

    QUEUED = "queued"
    RUNNING = "running"
    LOST = "lost"  # there is no record
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """An accepted prediction that has no end, although its limits are over."""

    id: str
    state: EntryState
    ends_by: datetime


class Ledger:
    """Finds the predictions that have not ended in time."""

    def __init__(self, connection: "redis.Redis") -> None:
        self._redis = connection
        self._clock = Clock(connection)

    def find_overdue(self, grace: timedelta = GRACE, most: int = MOST) -> list[Overdue]:
        """Return the predictions whose limits and grace are over, the oldest first. Raises Unavailable.

        An entry whose prediction has ended is removed: an older klein, which keeps no ledger, ended it.
        """
        latest = to_ms(self._clock.now() - grace)
        with redis_errors():
            entries = cast(
                "list[tuple[bytes, float]]",
                self._redis.zrange(
                    LEDGER, "-inf", latest, byscore=True, offset=0, num=most, withscores=True
                ),
            )
            ids = [prediction_id.decode() for prediction_id, _ in entries]
            records = self._redis.mget([record_key(i) for i in ids]) if ids else []
            states = [
                _state_of(i, record)
                for i, record in zip(ids, cast("list[bytes | None]", records), strict=True)
            ]
            if ended := [i for i, state in zip(ids, states, strict=True) if state is None]:
                self._redis.zrem(LEDGER, *ended)
        return [
            Overdue(id=i, state=state, ends_by=from_ms(int(ends_by_ms)))
            for i, state, (_, ends_by_ms) in zip(ids, states, entries, strict=True)
            if state is not None
        ]


def _state_of(prediction_id: str, record: bytes | None) -> EntryState | None:
    """Return the state of an entry; None where the prediction has ended."""
    try:
        status = decode(record, prediction_id).status
    except UnknownPrediction:
        return EntryState.LOST
    except UnreadableRecord:
        return EntryState.UNREADABLE
    if status.is_final:
        return None
    return EntryState.QUEUED if status is Status.QUEUED else EntryState.RUNNING
