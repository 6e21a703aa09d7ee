"""Accepts predictions: writes their records and puts them in line, in one step."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import redis
import redis.asyncio
from anyio import to_thread

from app.lua.script import Value
from app.metrics import ACCEPTED
from app.predictions import scripts
from app.predictions.accounts import (
    UNLIMITED,
    Refusal,
    Terms,
    held_key,
    refusal_error,
    spent_key,
)
from app.predictions.clock import Clock, to_ms
from app.predictions.due import due_at, first_look
from app.predictions.errors import IdempotencyKeyReused, KleinError
from app.predictions.lost_accounts import release_lost
from app.predictions.prediction import Idempotency, Prediction
from app.predictions.queue import Queues, line_keys, line_prefix
from app.predictions.record_reader import RECORDS, RecordReader
from app.predictions.record_size import check_record_size
from app.predictions.redis_errors import redis_errors
from app.predictions.redis_keys import (
    EXPIRY,
    LEDGER,
    OPEN,
    history_key,
    idempotency_key,
    record_key,
)

IDEMPOTENCY_KEPT = timedelta(days=1)  # or until its record is deleted, if that is sooner
RATE_OVER = timedelta(minutes=1)  # window in which ended predictions are counted for their rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A prediction that was accepted."""

    prediction: Prediction
    ahead: int | None  # predictions before it; None where it was accepted before


class Intake(RecordReader):
    """Accepts predictions. Safe for any number of threads and processes."""

    def __init__(
        self,
        connection: "redis.Redis",
        queues: Queues,
        retention: timedelta,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(connection, queues)
        self._retention = retention
        self.clock = clock or Clock(connection)
        """It also continues from the times that its scripts return."""

    def add(self, prediction: Prediction, terms: Terms = UNLIMITED) -> Prediction:
        """Add a prediction, and return it. See `accept`."""
        return self.accept(prediction, terms).prediction

    def accept(self, prediction: Prediction, terms: Terms) -> Accepted:
        """Add a prediction: its record, its place in line and a token, in one transaction.

        Returns the accepted prediction, which is the first one where its idempotency key has come before. Raises
        IdempotencyKeyReused, InvalidInput (the record is too long), TooManyRequests or BudgetSpent.
        """
        values = _add_values(prediction, terms, self.clock.now())
        with redis_errors():
            reply = scripts.ADD(self._redis, **values)
        accepted_id, refusal, ahead = _read_reply(reply)
        if refusal is not None:
            raise self._error(prediction.key_id, refusal, terms, prediction.created_at)
        idempotency = prediction.idempotency
        if idempotency is None or accepted_id == prediction.id:
            ACCEPTED.labels(prediction.model).inc()
            return Accepted(prediction=prediction, ahead=ahead)
        return Accepted(prediction=_repeated(self.get(accepted_id), idempotency), ahead=None)

    async def accept_soon(
        self, shared: "redis.asyncio.Redis", prediction: Prediction, terms: Terms
    ) -> Accepted:
        """Add a prediction as `accept` does, on the event loop. It has just been created, and has no idempotency key."""
        values = _add_values(prediction, terms, prediction.created_at)
        with redis_errors():
            reply = await scripts.ADD.run(shared, **values)
        _, refusal, ahead = _read_reply(reply)
        if refusal is not None:
            raise await to_thread.run_sync(
                self._error, prediction.key_id, refusal, terms, prediction.created_at
            )
        ACCEPTED.labels(prediction.model).inc()
        return Accepted(prediction=prediction, ahead=ahead)

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
            raise self._error(key_id, Refusal(cast("bytes", refused).decode()), terms, now)

    def find_repeated(self, key_id: str, idempotency: Idempotency) -> Prediction | None:
        """Return the prediction of an earlier request with this idempotency key. Raises IdempotencyKeyReused."""
        with redis_errors():
            first = self._redis.get(idempotency_key(key_id, idempotency.key))
        if first is None:
            return None
        return _repeated(self.get(cast("bytes", first).decode()), idempotency)

    def _error(self, key_id: str, refusal: Refusal, terms: Terms, now: datetime) -> KleinError:
        since = to_ms(now + self._retention - RATE_OVER)
        with redis_errors():
            if refusal is not Refusal.QUEUE:
                release_lost(self._redis, key_id)
            ended = self._redis.zcount(EXPIRY, since, "+inf")
        return refusal_error(refusal, terms.limits, now, ended / RATE_OVER.total_seconds())


def _add_values(prediction: Prediction, terms: Terms, now: datetime) -> dict[str, Value]:
    """Return what the script gets. Raises InvalidInput if the record is too long."""
    value = RECORDS.write(prediction)
    check_record_size(value, prediction)
    idempotency, created_at = prediction.idempotency, prediction.created_at
    key_id = prediction.key_id
    return {
        "record": record_key(prediction.id),
        "open": OPEN,
        "history": history_key(key_id),
        "held": held_key(key_id),
        "spent": spent_key(key_id),
        "ledger": LEDGER,
        "idempotency": idempotency_key(key_id, idempotency.key) if idempotency else None,
        **line_keys(prediction),
        "line_prefix": line_prefix(prediction),
        "value": value,
        "id": prediction.id,
        "key_id": key_id,
        "created_ms": to_ms(created_at),
        "due_ms": to_ms(due_at(prediction, now) or created_at),
        "look_at_ms": _ms(first_look(prediction)),
        "idempotency_kept_ms": round(IDEMPOTENCY_KEPT.total_seconds() * 1000),
        **terms.script_arguments(created_at),
    }


def _read_reply(reply: list[Any]) -> tuple[str, Refusal | None, int | None]:
    """Return the id that was accepted, why it was refused, and how many come before it."""
    accepted, refused, *ahead = reply
    refusal = Refusal(refused.decode()) if refused else None
    return accepted.decode(), refusal, ahead[0] if ahead else None


def _repeated(first: Prediction, idempotency: Idempotency) -> Prediction:
    if first.idempotency != idempotency:
        raise IdempotencyKeyReused
    return first


def _ms(at: datetime | None) -> int | None:
    return None if at is None else to_ms(at)
