"""Stores deliveries in Redis: their attempts, and when the next one is due.

The script that makes a prediction final puts its id into `klein:webhooks:due`. Once it is due it waits in a line (see
`lines`). A delivery without a record has had no attempt. The script that starts or advances a prediction does the same
where the receiver wants progress. What is due before the end leaves the outbox before it is sent: it is sent once. Records change by compare-and-set, like predictions.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast

import redis

from app.lua.script import load_script
from app.predictions.errors import KleinError, UnknownPrediction, UnreadableRecord
from app.predictions.prediction import Prediction
from app.predictions.rates import Rates
from app.predictions.redis_errors import redis_errors
from app.predictions.redis_keys import (
    OPEN,
    WEBHOOK_STARTS,
    WEBHOOKS_DUE,
    deliveries_key,
    delivery_key,
    record_key,
)
from app.predictions.store import Store
from app.predictions.webhook_event import WebhookEvent
from app.records import Records
from app.webhooks.delivery import Delivery, DeliveryAttempt, first_delivery
from app.webhooks.lines import LEASE, DeliveryLines, TakenDelivery
from app.webhooks.messages import Message, messages_about

PART = 100  # records read at once
REDELIVERIES_PER_MINUTE = 60  # of one key
_RECORDS = Records(Delivery)
_CLAIM_DUE = load_script("claim_due")
_POSTPONE = load_script("postpone_delivery")
_CHANGE = load_script("change_delivery")
_TAKE_PROGRESS = load_script("take_progress")


class UnknownWebhook(KleinError):
    """There is no such delivery; it is created when a prediction with a webhook_url ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPage:
    """Some of a key's deliveries, newest first, and how many there are in all."""

    deliveries: list[tuple[Prediction, Delivery]]
    total: int


class Outbox:
    """Reads and changes deliveries. Safe for any number of threads and processes."""

    def __init__(
        self, connection: "redis.Redis", store: Store, pauses: tuple[timedelta, ...]
    ) -> None:
        self._redis = connection
        self._store = store
        self._pauses = pauses
        self._lines = DeliveryLines(connection)
        self._redeliveries = Rates(connection, "redeliver {} webhooks", "klein:rate:redeliver")

    def next_due(self) -> timedelta | None:
        """Return in what time the next delivery is due, zero if one waits. None means that there is none."""
        return self._lines.next_due()

    def line_up(self, limit: int) -> None:
        """Put due deliveries, this many in all, into the lines of their keys."""
        for _ in range(0, limit, PART):
            ids = self._claim_due(PART)
            predictions = list(self._store.read_all(ids))
            self._lines.join(predictions)
            for missing in set(ids) - {p.id for p in predictions}:
                self._drop_deleted(missing)
            if len(ids) < PART:
                return

    def take(self, busy: Iterable[str] = ()) -> TakenDelivery | None:
        """Take the next delivery out of the lines for LEASE, but none of the keys and lines that are `busy`."""
        return self._lines.take(busy)

    def take_messages(self, prediction: Prediction) -> list[Message]:
        """Return the webhooks to send now. Only that of the end stays due until it is recorded. Raises UnknownPrediction."""
        if not prediction.status.is_final:
            with redis_errors():
                _TAKE_PROGRESS(self._redis, open=OPEN, due=WEBHOOKS_DUE, id=prediction.id)
            prediction = self._store.get(
                prediction.id
            )  # the webhooks include what has changed until here
        elif not prediction.needs_webhook:
            self.drop(prediction.id)
        webhook = prediction.webhook
        owes_start = False
        if webhook is not None and WebhookEvent.START in webhook.events:
            with redis_errors():
                owes_start = bool(self._redis.sismember(WEBHOOK_STARTS, prediction.id))
        return messages_about(prediction, owes_start=owes_start)

    def postpone(self, prediction_id: str, pause: timedelta) -> None:
        """Return a claimed delivery. It is due again after a pause."""
        with redis_errors():
            _POSTPONE(self._redis, due=WEBHOOKS_DUE, id=prediction_id, pause_ms=_ms(pause))

    def drop(self, prediction_id: str) -> None:
        """Remove the id of a deleted prediction, or of an end without a webhook."""
        with redis_errors():
            self._redis.zrem(WEBHOOKS_DUE, prediction_id)

    def record_message(self, message: Message, attempt: DeliveryAttempt) -> None:
        """Record an attempt: that of the end in its delivery, that of the start so that it is not repeated."""
        if message.is_end:
            self.record(message.prediction, attempt)
        elif message.event is WebhookEvent.START:
            with redis_errors():
                self._redis.srem(WEBHOOK_STARTS, message.prediction.id)

    def record(self, prediction: Prediction, attempt: DeliveryAttempt) -> Delivery:
        """Record an attempt and schedule the next."""
        return self._change(prediction, lambda d: d.with_attempt(attempt))

    def redeliver(self, key_id: str, prediction_id: str) -> tuple[Prediction, Delivery]:
        """Start a new round of attempts now. Raises UnknownWebhook, or TooManyRequests over the key's rate."""
        prediction, _ = self.get(key_id, prediction_id)
        self._redeliveries.count(key_id, REDELIVERIES_PER_MINUTE)
        return prediction, self._change(prediction, Delivery.restarted)

    def get(self, key_id: str, prediction_id: str) -> tuple[Prediction, Delivery]:
        """Read one of this key's deliveries. Raises UnknownWebhook or Unavailable."""
        with redis_errors():
            is_own = self._redis.zscore(deliveries_key(key_id), prediction_id) is not None
        deliveries = self._read([prediction_id]) if is_own else []
        if not deliveries:
            raise UnknownWebhook(prediction_id)
        return deliveries[0]

    def acknowledged_at(self, prediction: Prediction) -> datetime | None:
        """Return when the receiver first acknowledged the end. None means not yet, or there is no webhook. Raises Unavailable."""
        if prediction.webhook is None or not prediction.status.is_final:
            return None
        return next((d.acknowledged_at for _, d in self._read([prediction.id])), None)

    def history(self, key_id: str, *, offset: int, limit: int) -> DeliveryPage:
        """Return a page of a key's deliveries, newest first."""
        key = deliveries_key(key_id)
        with redis_errors():
            ids = self._redis.zrange(key, offset, offset + limit - 1, desc=True)
            total = self._redis.zcard(key)
        deliveries = self._read([i.decode() for i in cast("list[bytes]", ids)])
        return DeliveryPage(deliveries=deliveries, total=total)

    def _claim_due(self, limit: int) -> list[str]:
        with redis_errors():
            ids = _CLAIM_DUE(
                self._redis, due=WEBHOOKS_DUE, limit=limit, lease_ms=_ms(LEASE), horizon_ms=None
            )
        return [i.decode() for i in cast("list[bytes]", ids)]

    def _drop_deleted(self, prediction_id: str) -> None:
        try:
            self._store.get(prediction_id)
        except UnknownPrediction:
            self.drop(prediction_id)
        except UnreadableRecord:  # `read_all` has logged it; another version may deliver it
            return

    def _read(self, ids: list[str]) -> list[tuple[Prediction, Delivery]]:
        if not ids:
            return []
        with redis_errors():
            records = self._redis.mget([delivery_key(i) for i in ids])
        by_id = dict(zip(ids, cast("list[bytes | None]", records), strict=True))
        return [(p, _decode(p, by_id[p.id])) for p in self._store.read_all(ids)]

    def _change(self, prediction: Prediction, change: Callable[[Delivery], Delivery]) -> Delivery:
        key = delivery_key(prediction.id)
        while True:
            with redis_errors():
                record = cast("bytes | None", self._redis.get(key))
                after = change(_decode(prediction, record))
                pause = after.pause(self._pauses)
                changed = _CHANGE(
                    self._redis,
                    delivery=key,
                    due=WEBHOOKS_DUE,
                    prediction=record_key(prediction.id),
                    deliveries=deliveries_key(prediction.key_id),
                    old=record,
                    new=_RECORDS.write(after, over=record),
                    id=prediction.id,
                    pause_ms=None if pause is None else _ms(pause),
                )
            if changed:
                return after


def _decode(prediction: Prediction, record: bytes | None) -> Delivery:
    return first_delivery(prediction) if record is None else _RECORDS.read(record)


def _ms(span: timedelta) -> int:
    return round(span.total_seconds() * 1000)
