"""Stores predictions in Redis: a script applies each transition by compare-and-set.

All deciding times are Redis's. A queue token is pushed in the transaction that makes it necessary.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, cast

import redis

from app.lua.script import execute
from app.metrics import ACCEPTED
from app.predictions import scripts
from app.predictions.accounts import (
    UNLIMITED,
    Refusal,
    Terms,
    cost_of,
    held_key,
    month_of,
    nanodollars,
    refusal_error,
    spent_key,
)
from app.predictions.clock import from_ms, to_ms
from app.predictions.errors import IdempotencyKeyReused, KleinError, UnknownPrediction
from app.predictions.page import Page
from app.predictions.prediction import QUEUE_CHECK, Idempotency, Prediction, Status
from app.predictions.queue import Queues
from app.predictions.redis_errors import redis_errors
from app.predictions.redis_keys import (
    CHANGED_CHANNEL,
    EXPIRY,
    FINAL_CHANNEL,
    OPEN,
    WEBHOOKS_DUE,
    deliveries_key,
    delivery_key,
    history_key,
    idempotency_key,
    preview_key,
    record_key,
)
from app.predictions.telemetry import record_transition
from app.records import Records

IDEMPOTENCY_KEPT = timedelta(days=1)  # or until its record is deleted, if that is sooner
PREVIEW_KEPT = timedelta(minutes=1)
PREVIEW_MAX_BYTES = 64 * 1024
RATE_OVER = timedelta(minutes=1)  # window in which ended predictions are counted for their rate

_RECORDS = Records(Prediction)
Transition = Callable[[Prediction, datetime], Prediction]


def decode(record: bytes | None, prediction_id: str) -> Prediction:
    """Decode a record. Raises UnknownPrediction for None."""
    if record is None:
        raise UnknownPrediction(prediction_id)
    return _RECORDS.read(record)


class Store:
    """Reads and changes the records; safe for any number of threads and processes."""

    def __init__(self, connection: "redis.Redis", queues: Queues, retention: timedelta) -> None:
        self._redis = connection
        self._queues = queues
        self._retention = retention

    def add(self, prediction: Prediction, terms: Terms = UNLIMITED) -> Prediction:
        """Add a prediction: its record and its queue token, in one transaction.

        Returns the accepted prediction, which is the first one where its idempotency key has come before. Raises
        IdempotencyKeyReused, TooManyRequests or BudgetSpent.
        """
        idempotency, created_at = prediction.idempotency, prediction.created_at
        key_id = prediction.key_id
        repeat_key = idempotency_key(key_id, idempotency.key) if idempotency else None
        pipe = self._redis.pipeline()
        with redis_errors():
            self._queues.push(prediction, pipe)
            scripts.ADD(
                pipe,
                record=record_key(prediction.id),
                open=OPEN,
                history=history_key(key_id),
                held=held_key(key_id),
                spent=spent_key(key_id),
                idempotency=repeat_key,
                value=_RECORDS.write(prediction),
                id=prediction.id,
                created_ms=to_ms(created_at),
                due_in_ms=to_ms(prediction.due_at(created_at) or created_at) - to_ms(created_at),
                idempotency_kept_ms=round(IDEMPOTENCY_KEPT.total_seconds() * 1000),
                **terms.script_arguments(created_at),
            )
            accepted, refused = (part.decode() for part in execute(pipe)[-1])
            if accepted != prediction.id:
                self._queues.remove(
                    prediction, pipe
                )  # if the process dies before this, the token finds no record
                execute(pipe)
        if refused:
            raise self._error(Refusal(refused), terms, created_at)
        if idempotency is None or accepted == prediction.id:
            ACCEPTED.labels(prediction.model).inc()
            return prediction
        return _repeated(self.get(accepted), idempotency)

    def check(self, key_id: str, terms: Terms, now: datetime) -> None:
        """Check early whether `add` would refuse. Raises TooManyRequests or BudgetSpent."""
        with redis_errors():
            refused = scripts.CHECK(
                self._redis,
                open=OPEN,
                held=held_key(key_id),
                spent=spent_key(key_id),
                **terms.script_arguments(now),
            )
        if refused:
            raise self._error(Refusal(cast("bytes", refused).decode()), terms, now)

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

    def change(self, prediction_id: str, transition: Transition) -> Prediction:
        """Apply a transition to the current record, and repeat it where another process changed the record meanwhile.

        The transition gets the prediction and Redis's time. If it raises, the record stays unchanged.
        """
        key = record_key(prediction_id)
        while True:
            with redis_errors():
                now_ms, record = cast(
                    "tuple[int, bytes | None]", scripts.READ(self._redis, record=key)
                )
            now = from_ms(now_ms)
            before = decode(record, prediction_id)
            after = transition(before, now)
            if after == before:
                return before
            due = after.due_at(now)
            pipe = self._redis.pipeline()
            with redis_errors():
                is_over_in_line = before.status is Status.QUEUED and after.status.is_final
                if is_over_in_line or after.status is Status.CANCELLED:
                    self._queues.remove(before, pipe)
                elif after.token != before.token:
                    self._queues.push(after, pipe)  # harmless where another change wins
                scripts.CHANGE(
                    pipe,
                    record=key,
                    open=OPEN,
                    expiry=EXPIRY,
                    webhooks_due=WEBHOOKS_DUE,
                    deliveries=deliveries_key(after.key_id),
                    held=held_key(after.key_id),
                    spent=spent_key(after.key_id),
                    preview=preview_key(prediction_id),
                    old=record,
                    new=_RECORDS.write(after, over=record),
                    id=prediction_id,
                    due_ms=None if due is None else to_ms(due),
                    expires_ms=to_ms(now + self._retention),
                    channel=FINAL_CHANNEL if due is None else CHANGED_CHANNEL,
                    webhook_due_ms=to_ms(now) if after.needs_webhook else None,
                    month=month_of(now),
                    cost=nanodollars(cost_of(after)),
                )
                if not execute(pipe)[-1]:
                    continue
            record_transition(before, after)
            return after

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

    def claim_due(self, most: int = 1000) -> list[Prediction]:
        """Claim the open predictions whose next check is due. Each is due again after QUEUE_CHECK."""
        return self._claim(OPEN, most)

    def check_at_queue_timeout(self, prediction: Prediction) -> None:
        """Schedule the next check of an open prediction no later than its queue timeout."""
        if prediction.queue_deadline is None:
            return
        with redis_errors():
            self._redis.zadd(
                OPEN, {prediction.id: to_ms(prediction.queue_deadline)}, xx=True, lt=True
            )

    def count_open(self) -> int:
        """Count the predictions that are not final."""
        with redis_errors():
            return self._redis.zcard(OPEN)

    def count_webhooks(self) -> int:
        """Count the webhooks not yet delivered."""
        with redis_errors():
            return self._redis.zcard(WEBHOOKS_DUE)

    def claim_expired(self, most: int = 1000) -> list[Prediction]:
        """Claim final predictions whose retention has passed. Each is offered again after QUEUE_CHECK."""
        return self._claim(EXPIRY, most)

    def delete(self, prediction: Prediction) -> None:
        """Delete the record of a final prediction; the caller deletes its files first."""
        pipe = self._redis.pipeline()
        pipe.delete(record_key(prediction.id))
        pipe.zrem(history_key(prediction.key_id), prediction.id)
        pipe.zrem(EXPIRY, prediction.id)
        pipe.delete(delivery_key(prediction.id))
        pipe.zrem(WEBHOOKS_DUE, prediction.id)
        pipe.zrem(deliveries_key(prediction.key_id), prediction.id)
        if prediction.idempotency is not None:
            pipe.delete(idempotency_key(prediction.key_id, prediction.idempotency.key))
        with redis_errors():
            pipe.execute()

    def history(  # noqa: PLR0913 -- one argument a filter
        self,
        key_id: str,
        *,
        since: datetime,
        until: datetime,
        matches: Callable[[Prediction], bool],
        offset: int,
        limit: int,
        most: int = 10_000,
    ) -> Page:
        """Return a page of a key's predictions, newest first; at most `most` records are read."""
        with redis_errors():
            ids = self._redis.zrange(
                history_key(key_id),
                to_ms(until),
                to_ms(since),
                desc=True,
                byscore=True,
                offset=0,
                num=most + 1,
            )
        recent_ids = [i.decode() for i in cast("list[bytes]", ids)[:most]]
        matching = [p for p in self.read_all(recent_ids) if matches(p)]
        return Page(
            predictions=matching[offset : offset + limit],
            total=len(matching),
            is_capped=len(cast("list[bytes]", ids)) > most,
        )

    def _error(self, refusal: Refusal, terms: Terms, now: datetime) -> KleinError:
        since = to_ms(now + self._retention - RATE_OVER)
        with redis_errors():
            ended = self._redis.zcount(EXPIRY, since, "+inf")
        return refusal_error(refusal, terms.limits, now, ended / RATE_OVER.total_seconds())

    def _claim(self, key: str, most: int) -> list[Prediction]:
        with redis_errors():
            ids = scripts.CLAIM_DUE(
                self._redis, due=key, most=most, lease_ms=round(QUEUE_CHECK.total_seconds() * 1000)
            )
        return list(self.read_all([i.decode() for i in cast("list[bytes]", ids)]))

    def read_all(self, ids: list[str]) -> Iterator[Prediction]:
        """Read many records and skip missing ones."""
        if not ids:
            return
        with redis_errors():
            records = cast("list[Any]", self._redis.mget([record_key(i) for i in ids]))
        yield from (_RECORDS.read(record) for record in records if record is not None)


def _repeated(first: Prediction, idempotency: Idempotency) -> Prediction:
    if first.idempotency != idempotency:
        raise IdempotencyKeyReused
    return first
