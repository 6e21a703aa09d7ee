"""Stores predictions in Redis: a script applies each transition by compare-and-set.

All deciding times are Redis's. A queue token is pushed in the transaction that makes it necessary.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import redis

from app.lua.script import Value, execute
from app.metrics import ACCEPTED
from app.predictions import scripts
from app.predictions.accounts import (
    UNLIMITED,
    Refusal,
    Terms,
    held_key,
    refusal_error,
    reserved_key,
    spent_key,
)
from app.predictions.catalog import MODELS
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.clock import Clock, from_ms, to_ms
from app.predictions.consequences import change_values, end_values
from app.predictions.due import due_at, ends_by
from app.predictions.due_ids import DueIds
from app.predictions.errors import (
    IdempotencyKeyReused,
    KleinError,
    UnknownPrediction,
    UnreadableRecord,
)
from app.predictions.last_records import LastRecords, ReadRecord
from app.predictions.lost_accounts import release_lost
from app.predictions.prediction import Idempotency, Prediction, Status
from app.predictions.queue import Queues, line_keys, line_prefix
from app.predictions.record_patch import patch_in_place, patch_to_end
from app.predictions.record_size import check_record_size
from app.predictions.redis_errors import redis_errors
from app.predictions.redis_keys import (
    EXPIRY,
    LEDGER,
    OPEN,
    WEBHOOK_STARTS,
    WEBHOOKS_DUE,
    deliveries_key,
    delivery_key,
    history_key,
    idempotency_key,
    preview_key,
    record_key,
)
from app.predictions.speed import Sample, decode_sample
from app.predictions.telemetry import record_transition
from app.records import Records

IDEMPOTENCY_KEPT = timedelta(days=1)  # or until its record is deleted, if that is sooner
USAGE_KEPT = timedelta(days=92)
PREVIEW_KEPT = timedelta(minutes=1)
PREVIEW_MAX_BYTES = 64 * 1024
LATE_FILES = timedelta(minutes=15)
"""How long after the end an attempt that lost its lease may store files: it waits for the publisher, then publishes."""
RATE_OVER = timedelta(minutes=1)  # window in which ended predictions are counted for their rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A prediction that was accepted."""

    prediction: Prediction
    ahead: int | None  # predictions before it; None where it was accepted before
    running: int = (
        0  # unfinished predictions that do not wait for its checkpoint kind; most of them run
    )


_RECORDS = Records(Prediction, is_known=lambda prediction: prediction.model in MODELS)
Transition = Callable[[Prediction, datetime], Prediction]


def decode(record: bytes | None, prediction_id: str) -> Prediction:
    """Decode a record. Raises UnknownPrediction for None, or UnreadableRecord."""
    if record is None:
        raise UnknownPrediction(prediction_id)
    return _RECORDS.read(record)


class Store(DueIds):
    """Reads and changes the records; safe for any number of threads and processes."""

    def __init__(
        self,
        connection: "redis.Redis",
        queues: Queues,
        retention: timedelta,
        usage_kept: timedelta = USAGE_KEPT,
    ) -> None:
        super().__init__(connection)
        self._queues = queues
        self._retention = retention
        self._usage_kept = usage_kept
        self._clock = Clock(connection)
        self._last = LastRecords()

    def add(self, prediction: Prediction, terms: Terms = UNLIMITED) -> Prediction:
        """Add a prediction, and return it; see `accept`."""
        return self.accept(prediction, terms).prediction

    def accept(self, prediction: Prediction, terms: Terms) -> Accepted:
        """Add a prediction: its record, its place in line and a token, in one transaction.

        Returns the accepted prediction, which is the first one where its idempotency key has come before. Raises
        IdempotencyKeyReused, InvalidInput (the record is too long), TooManyRequests or BudgetSpent.
        """
        value = _RECORDS.write(prediction)
        check_record_size(value, prediction)
        idempotency, created_at = prediction.idempotency, prediction.created_at
        key_id = prediction.key_id
        repeat_key = idempotency_key(key_id, idempotency.key) if idempotency else None
        with redis_errors():
            reply = scripts.ADD(
                self._redis,
                record=record_key(prediction.id),
                open=OPEN,
                history=history_key(key_id),
                held=held_key(key_id),
                reserved=reserved_key(key_id),
                spent=spent_key(key_id),
                ledger=LEDGER,
                idempotency=repeat_key,
                **line_keys(prediction),
                line_prefix=line_prefix(prediction),
                value=value,
                id=prediction.id,
                key_id=key_id,
                created_ms=to_ms(created_at),
                due_in_ms=to_ms(due_at(prediction, created_at) or created_at) - to_ms(created_at),
                ends_by_ms=_ms(ends_by(prediction)),
                idempotency_kept_ms=round(IDEMPOTENCY_KEPT.total_seconds() * 1000),
                **terms.script_arguments(created_at),
            )
        accepted, refused, *place = cast("list[Any]", reply)
        accepted, refused = accepted.decode(), refused.decode()
        if refused:
            raise self._error(key_id, Refusal(refused), terms, created_at)
        if idempotency is None or accepted == prediction.id:
            ACCEPTED.labels(prediction.model).inc()
            ahead, running = place or (None, 0)
            return Accepted(prediction=prediction, ahead=ahead, running=running)
        return Accepted(prediction=_repeated(self.get(accepted), idempotency), ahead=None)

    def check(self, key_id: str, terms: Terms, now: datetime) -> None:
        """Check early whether `add` would refuse. Raises TooManyRequests or BudgetSpent."""
        with redis_errors():
            refused = scripts.CHECK(
                self._redis,
                open=OPEN,
                held=held_key(key_id),
                reserved=reserved_key(key_id),
                spent=spent_key(key_id),
                **terms.script_arguments(now),
            )
        if refused:
            raise self._error(key_id, Refusal(cast("bytes", refused).decode()), terms, now)

    def find_repeated(self, key_id: str, idempotency: Idempotency) -> Prediction | None:
        """Return the prediction of an earlier request with this idempotency key. Raises IdempotencyKeyReused."""
        with redis_errors():
            first = self._redis.get(idempotency_key(key_id, idempotency.key))
        if first is None:
            return None
        return _repeated(self.get(cast("bytes", first).decode()), idempotency)

    def get(self, prediction_id: str) -> Prediction:
        """Read a record. Raises UnknownPrediction."""
        with redis_errors():
            record = self._redis.get(record_key(prediction_id))
        return decode(cast("bytes | None", record), prediction_id)

    def take_next(self, kind: CheckpointKind) -> str | None:
        """Take the next prediction out of its line and return its id. Its first change needs no read. Raises Unavailable."""
        with redis_errors():
            taken = self._queues.take_record(kind)
        if taken is None:
            return None
        self._clock.set(taken.at)
        with suppress(UnknownPrediction, UnreadableRecord):  # the change will say so
            prediction = decode(taken.record, taken.id)
            self._last.keep(ReadRecord(cast("bytes", taken.record), prediction))
        return taken.id

    def change(self, prediction_id: str, transition: Transition) -> Prediction:
        """Apply a transition to the current record, and repeat it where another process changed the record meanwhile.

        The transition gets the prediction and Redis's time. If it raises, the record stays unchanged. It may be called more
        than once: at first with the record that this process wrote last.
        """
        last = self._last.get(prediction_id)
        if last is not None:
            now = self._clock.now()
            try:
                after = transition(last.prediction, now)
            except KleinError:
                after = last.prediction  # the record itself decides, below
            if after != last.prediction and self._replace(last, after, now):
                return after
        while True:
            with redis_errors():
                now_ms, record = cast(
                    "tuple[int, bytes | None]",
                    scripts.READ(self._redis, record=record_key(prediction_id)),
                )
            now = from_ms(now_ms)
            self._clock.set(now)
            before = decode(record, prediction_id)
            after = transition(before, now)
            if after == before or self._replace(
                ReadRecord(cast("bytes", record), before), after, now
            ):
                return after

    def _replace(self, before: ReadRecord, after: Prediction, now: datetime) -> bool:
        """Replace a record, with everything that follows from it; False where it is no longer as it was read."""
        old, was = before
        new = _RECORDS.write(after, over=old, before=was)
        is_end = after.status.is_final
        patch = patch_to_end(old, new) if is_end else patch_in_place(old, new)
        pipe = self._redis.pipeline()
        with redis_errors():
            is_over_in_line = was.status is Status.QUEUED and is_end
            if is_over_in_line or after.status is Status.CANCELLED:
                self._queues.remove(was, pipe)
            elif after.must_queue(was, now):
                self._queues.push(after, pipe)  # harmless where another change wins
            changed = (scripts.END if is_end else scripts.CHANGE)(
                pipe if pipe.command_stack else self._redis,
                record=record_key(after.id),
                old_sha1=hashlib.sha1(old).hexdigest(),  # noqa: S324 -- as Lua has it
                offset=patch.offset,
                part=patch.part,
                id=after.id,
                **(self._end_values(was, after, now) if is_end else change_values(was, after, now)),
            )
            if pipe.command_stack:
                changed = execute(pipe)[-1]
        if not changed:
            return False
        self._last.keep(ReadRecord(patch.record, after))
        record_transition(was, after)
        return True

    def _end_values(self, was: Prediction, after: Prediction, now: datetime) -> dict[str, Value]:
        """Return what the script needs beside the record to end a prediction."""
        expires_at = now + (after.retention or self._retention)
        usage_kept_s = round(self._usage_kept.total_seconds())
        return end_values(was, after, now) | {
            "expires_ms": to_ms(expires_at),
            "usage_kept_s": usage_kept_s,
        }

    def store_preview(self, prediction_id: str, preview: bytes) -> None:
        """Store a preview of an open prediction for PREVIEW_KEPT; an oversized one is dropped."""
        if len(preview) > PREVIEW_MAX_BYTES:
            return
        with redis_errors():
            scripts.STORE_PREVIEW(
                self._redis,
                open=OPEN,
                preview=preview_key(prediction_id),
                id=prediction_id,
                image=preview,
                kept_s=round(PREVIEW_KEPT.total_seconds()),
            )

    def keep_in_line(self, prediction: Prediction) -> bool:
        """Plan the next check of a prediction that waits in line; False where it does not."""
        with redis_errors():
            return self._queues.schedule_check(prediction)

    def queue(self, prediction: Prediction) -> None:
        """Put an open prediction back in line, with a token; harmless where it is there or has ended."""
        with redis_errors():
            self._queues.push(prediction, self._redis)

    def delete(self, prediction: Prediction) -> None:
        """Delete the record of a final prediction; the caller deletes its files first.

        The id of one that may still have an attempt is offered as expired once more, because of late files.
        """
        idempotency, key_id = prediction.idempotency, prediction.key_id
        late_until = (prediction.finished_at or prediction.created_at) + LATE_FILES
        is_only_attempt_over = prediction.status is Status.SUCCEEDED and prediction.attempt == 1
        may_be_late = (
            prediction.owner is not None
            and not is_only_attempt_over
            and self._clock.now() < late_until
        )
        with redis_errors():
            scripts.DELETE(
                self._redis,
                record=record_key(prediction.id),
                history=history_key(key_id),
                expiry=EXPIRY,
                delivery=delivery_key(prediction.id),
                webhooks_due=WEBHOOKS_DUE,
                starts=WEBHOOK_STARTS,
                deliveries=deliveries_key(key_id),
                preview=preview_key(prediction.id),
                ledger=LEDGER,
                idempotency=idempotency_key(key_id, idempotency.key) if idempotency else None,
                id=prediction.id,
                late_ms=to_ms(late_until) if may_be_late else None,
            )

    def _error(self, key_id: str, refusal: Refusal, terms: Terms, now: datetime) -> KleinError:
        since = to_ms(now + self._retention - RATE_OVER)
        with redis_errors():
            if refusal is not Refusal.QUEUE:
                release_lost(self._redis, key_id)
            ended = self._redis.zcount(EXPIRY, since, "+inf")
        return refusal_error(refusal, terms.limits, now, ended / RATE_OVER.total_seconds())

    def read_outlook(
        self, kind: CheckpointKind, most: int
    ) -> tuple[list[Sample], list[Prediction]]:
        """Read what recent predictions took, and up to `most` predictions that would be taken next."""
        with redis_errors():
            samples, records = self._queues.read_outlook(kind, most)
        return [decode_sample(sample) for sample in samples], list(_RECORDS.read_each(records))

    def read_all(self, ids: list[str]) -> Iterator[Prediction]:
        """Read many records; skip missing and unreadable ones."""
        if not ids:
            return
        with redis_errors():
            records = cast("list[Any]", self._redis.mget([record_key(i) for i in ids]))
        yield from _RECORDS.read_each(records)


def _repeated(first: Prediction, idempotency: Idempotency) -> Prediction:
    if first.idempotency != idempotency:
        raise IdempotencyKeyReused
    return first


def _ms(at: datetime | None) -> int | None:
    return None if at is None else to_ms(at)
