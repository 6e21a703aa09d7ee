"""Reads the ledger: every accepted prediction that has not ended, by a time before which no limit ends it.

The scripts that accept and end predictions write it, in `klein:ledger`. The record says when its limits end it. Nothing acts on it: it is a check of
what the couriers and workers do.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, cast

import redis

from app.predictions.clock import Clock, from_ms, to_ms
from app.predictions.due import ends_by
from app.predictions.errors import UnknownPrediction, UnreadableRecord
from app.predictions.prediction import Status
from app.predictions.record_reader import decode
from app.predictions.redis_errors import redis_errors
from app.predictions.redis_keys import LEDGER, record_key

GRACE = timedelta(minutes=15)
"""Beyond its limits a prediction may wait for the batch before it, for an engine that stops, and for the storage."""
MAX_OVERDUE = 1000
PART = 1000  # entries in one look


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

    def find_overdue(self, grace: timedelta = GRACE, limit: int = MAX_OVERDUE) -> list[Overdue]:
        """Return the predictions whose limits and grace are over, the oldest first. Raises Unavailable.

        Others that were due for a look get the time at which their limits end them. An entry whose prediction has ended is
        removed: an older klein, which keeps no ledger, ended it.
        """
        latest = self._clock.now() - grace
        overdue: list[Overdue] = []
        with redis_errors():
            while entries := self._read(to_ms(latest), offset=len(overdue)):
                ended = [entry.id for entry in entries if entry.ends_by is None]
                later = {
                    entry.id: to_ms(entry.ends_by)
                    for entry in entries
                    if entry.ends_by is not None and entry.ends_by > latest
                }
                if ended:
                    self._redis.zrem(LEDGER, *ended)
                if later:
                    self._redis.zadd(LEDGER, later, xx=True)
                overdue += [
                    Overdue(id=entry.id, state=entry.state, ends_by=entry.ends_by)
                    for entry in entries
                    if entry.ends_by is not None and entry.ends_by <= latest
                ]
                if len(entries) < PART or len(overdue) >= limit:
                    break
        return sorted(overdue[:limit], key=lambda entry: entry.ends_by)

    def _read(self, latest_ms: int, offset: int) -> list["_Entry"]:
        scored = cast(
            "list[tuple[bytes, float]]",
            self._redis.zrange(
                LEDGER, "-inf", latest_ms, byscore=True, offset=offset, num=PART, withscores=True
            ),
        )
        if not scored:
            return []
        ids = [prediction_id.decode() for prediction_id, _ in scored]
        records = cast("list[bytes | None]", self._redis.mget([record_key(i) for i in ids]))
        return [
            _entry(i, record, from_ms(int(look_at_ms)))
            for i, record, (_, look_at_ms) in zip(ids, records, scored, strict=True)
        ]


class _Entry(NamedTuple):
    id: str
    state: EntryState
    ends_by: datetime | None  # None means it has ended


def _entry(prediction_id: str, record: bytes | None, look_at: datetime) -> _Entry:
    try:
        prediction = decode(record, prediction_id)
    except UnknownPrediction:
        return _Entry(prediction_id, EntryState.LOST, look_at)
    except UnreadableRecord:
        return _Entry(prediction_id, EntryState.UNREADABLE, look_at)
    is_queued = prediction.status is Status.QUEUED
    return _Entry(
        prediction_id, EntryState.QUEUED if is_queued else EntryState.RUNNING, ends_by(prediction)
    )
