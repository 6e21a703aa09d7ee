"""Stores predictions in Redis: a script applies each transition by compare-and-set.

All deciding times are Redis's. A queue token is pushed in the transaction that makes it necessary.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import redis

from app.lua.script import Value, execute
from app.predictions import scripts
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.clock import Clock, from_ms, to_ms
from app.predictions.consequences import change_values, end_values
from app.predictions.errors import (
    KleinError,
    UnreadableRecord,
)
from app.predictions.first_claim import FirstClaim, apply_claim, first_claim
from app.predictions.intake import Intake
from app.predictions.last_records import LastRecords, ReadRecord
from app.predictions.prediction import Prediction, Status
from app.predictions.queue import Queues
from app.predictions.record_patch import patch_in_place, patch_to_end
from app.predictions.record_reader import RECORDS, decode
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
    usage_field,
)
from app.predictions.telemetry import record_transition, record_wait

USAGE_KEPT = timedelta(days=92)
PREVIEW_KEPT = timedelta(minutes=1)
PREVIEW_MAX_BYTES = 64 * 1024
LATE_FILES = timedelta(minutes=15)
"""How long after the end an attempt that lost its lease may store files: it waits for the publisher, then publishes."""


Transition = Callable[[Prediction, datetime], Prediction]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A prediction that was taken out of its line."""

    id: str
    claimed: Prediction | None = None  # None: `Prediction.claim` is still to decide


class Store(Intake):
    """Reads and changes the records. Safe for any number of threads and processes."""

    def __init__(
        self,
        connection: "redis.Redis",
        queues: Queues,
        retention: timedelta,
        usage_kept: timedelta = USAGE_KEPT,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(connection, queues, retention, clock)
        self._usage_kept = usage_kept
        self._last = LastRecords()

    def take_next(self, kind: CheckpointKind, owner: str) -> Taken | None:
        """Take the next prediction out of its line, and claim it unless its record needs a decision. Raises Unavailable.

        Its next change needs no read.
        """
        now = self.clock.now()
        claim = first_claim(owner, now)
        with redis_errors():
            taken = self._queues.take_record(kind, claim.end, claim.lease_until)
        if taken is None:
            return None
        if taken.record is None:
            return Taken(id=taken.id)
        record = apply_claim(taken.record, claim) if taken.is_claimed else taken.record
        try:
            prediction = decode(record, taken.id)
        except UnreadableRecord:  # `change` says so
            if taken.is_claimed:
                self._undo(taken.id, record, claim)
            return Taken(id=taken.id)
        self._last.keep(ReadRecord(record, prediction))
        if not taken.is_claimed:
            return Taken(id=taken.id)
        record_wait(prediction)
        return Taken(id=taken.id, claimed=prediction)

    def _undo(self, prediction_id: str, record: bytes, claim: FirstClaim) -> None:
        """Return a record that this version cannot read to what it was before a claim: another version may run it."""
        with redis_errors():
            scripts.CHANGE(
                self._redis,
                record=record_key(prediction_id),
                open=OPEN,
                webhooks_due=None,
                starts=None,
                old_sha1=hashlib.sha1(record).hexdigest(),  # noqa: S324 -- as Lua has it
                offset=len(record) - len(claim.end),
                part=b"}".ljust(len(claim.end)),
                id=prediction_id,
                due_ms=None,
                channel=None,
                webhook_due_ms=None,
                owes_start=0,
            )

    def change(self, prediction_id: str, transition: Transition) -> Prediction:
        """Apply a transition to the current record, and repeat it where another process changed the record meanwhile.

        The transition gets the prediction and Redis's time. If it raises, the record stays unchanged. It may be called more
        than once: at first with the record that this process wrote last.
        """
        last = self._last.get(prediction_id)
        if last is not None:
            now = self.clock.now()
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
            self.clock.set(now)
            before = decode(record, prediction_id)
            after = transition(before, now)
            if after == before or self._replace(
                ReadRecord(cast("bytes", record), before), after, now
            ):
                return after

    def _replace(self, before: ReadRecord, after: Prediction, now: datetime) -> bool:
        """Replace a record, with everything that follows from it. Returns False if it has changed since it was read."""
        old, was = before
        new = RECORDS.write(after, over=old, before=was)
        is_end = after.status.is_final
        patch = patch_to_end(old, new) if is_end else patch_in_place(old, new)
        is_over_in_line = was.status is Status.QUEUED and is_end
        leaves_line = is_over_in_line or after.status is Status.CANCELLED
        joins_line = not leaves_line and after.must_queue(was, now)
        pipe = self._redis.pipeline() if leaves_line or joins_line else None
        with redis_errors():
            if pipe and leaves_line:
                self._queues.remove(was, pipe)
            elif pipe:
                self._queues.push(after, pipe)  # harmless where another change wins
            changed = (scripts.END if is_end else scripts.CHANGE)(
                pipe or self._redis,
                record=record_key(after.id),
                old_sha1=hashlib.sha1(old).hexdigest(),  # noqa: S324 -- as Lua has it
                offset=patch.offset,
                part=patch.part,
                id=after.id,
                **(self._end_values(was, after, now) if is_end else change_values(was, after, now)),
            )
            if pipe:
                changed = execute(pipe)[-1]
        if not changed:
            return False
        self._last.keep(ReadRecord(patch.record, after))
        record_transition(was, after)
        return True

    def _end_values(self, was: Prediction, after: Prediction, now: datetime) -> dict[str, Value]:
        """Return what the script needs beside the record to end a prediction."""
        expires_at = now + (after.retention or self._retention)
        return end_values(was, after, now) | {
            "expires_ms": to_ms(expires_at),
            "usage_from": usage_field((now - self._usage_kept).date()),
        }

    def store_preview(self, prediction_id: str, preview: bytes) -> None:
        """Store a preview of an open prediction for PREVIEW_KEPT. An oversized one is dropped."""
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

    def plan_check(self, prediction: Prediction) -> bool:
        """Plan the next check of a prediction that runs or waits in line. Returns False if it does neither."""
        with redis_errors():
            if prediction.lease_until is None or not prediction.is_leased(self.clock.now()):
                return self._queues.schedule_check(prediction)
            self._redis.zadd(OPEN, {prediction.id: to_ms(prediction.lease_until)}, xx=True)
        return True

    def queue(self, prediction: Prediction) -> None:
        """Put an open prediction back in line, with a token. Does nothing if it is there or has ended."""
        with redis_errors():
            self._queues.push(prediction, self._redis)

    def delete(self, prediction: Prediction) -> None:
        """Delete the record of a final prediction. The caller deletes its files first.

        The id of one that may still have an attempt is offered as expired once more, because of late files.
        """
        idempotency, key_id = prediction.idempotency, prediction.key_id
        late_until = (prediction.finished_at or prediction.created_at) + LATE_FILES
        is_only_attempt_over = prediction.status is Status.SUCCEEDED and prediction.attempt == 1
        may_be_late = (
            prediction.owner is not None
            and not is_only_attempt_over
            and self.clock.now() < late_until
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
