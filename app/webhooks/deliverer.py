"""Delivers webhooks concurrently, so that a slow receiver delays only its own."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import urlsplit

from opentelemetry.trace import SpanKind

from app.logs import log
from app.metrics import WEBHOOK_ATTEMPTS
from app.predictions.errors import Unavailable, UnknownPrediction
from app.predictions.prediction import Prediction
from app.predictions.store import Store
from app.storage.errors import StorageError
from app.tracing import span
from app.webhooks.delivery import DeliveryAttempt
from app.webhooks.outbox import Outbox
from app.webhooks.send import Sender

CONCURRENT = 64  # deliveries
CONCURRENT_PER_HOST = 8
POLL_S = 0.25
BUSY_HOST = timedelta(seconds=POLL_S)  # before a delivery to a busy host is tried again
RETRY_S = 1.0  # while Redis does not respond


class Deliverer:
    """Delivers what is due and records the attempts; any number of processes may run it."""

    def __init__(
        self,
        outbox: Outbox,
        store: Store,
        sender: Sender,
        render: Callable[[Prediction], bytes],
    ) -> None:
        self._outbox = outbox
        self._store = store
        self._sender = sender
        self._render = render
        self._running: dict[str, asyncio.Task[None]] = {}
        self._hosts: Counter[str] = Counter()

    async def run(self, stopping: threading.Event) -> None:
        """Deliver until `stopping` is set; deliveries in progress are then made again later."""
        while not stopping.is_set():
            try:
                await self._take()
            except Unavailable as exc:
                log.warning("webhooks_wait", error=str(exc))
                await asyncio.sleep(RETRY_S)
            await asyncio.sleep(
                POLL_S
            )  # under load too: the backlog of a silent host is checked slowly
        await self._shut_down()

    async def _take(self) -> None:
        room = CONCURRENT - len(self._running)
        if not room:
            return
        ids = await asyncio.to_thread(self._outbox.take, room)
        for prediction_id in ids:
            if prediction_id in self._running:
                continue
            task = asyncio.create_task(self._deliver(prediction_id))
            self._running[prediction_id] = task
            task.add_done_callback(lambda _, i=prediction_id: self._running.pop(i))  # type: ignore[misc]  # mypy cannot infer this lambda

    async def _shut_down(self) -> None:
        in_progress = dict(self._running)
        for task in in_progress.values():
            task.cancel()
        await asyncio.gather(*in_progress.values(), return_exceptions=True)
        for prediction_id in in_progress:
            try:
                await asyncio.to_thread(self._outbox.postpone, prediction_id, timedelta())
            except Unavailable:
                return  # the leases expire

    async def _deliver(self, prediction_id: str) -> None:
        try:
            prediction = await asyncio.to_thread(self._store.get, prediction_id)
            await self._deliver_one(prediction)
        except UnknownPrediction:
            await asyncio.to_thread(self._outbox.drop, prediction_id)
        except (Unavailable, StorageError) as exc:  # the lease expires, and it is claimed again
            log.warning("webhook_waits", prediction=prediction_id, error=str(exc))
        except Exception:  # noqa: BLE001 -- around a job: an unforeseen error must be logged
            log.exception("webhook_failed", prediction=prediction_id)

    async def _deliver_one(self, prediction: Prediction) -> None:
        webhook = prediction.webhook
        assert webhook is not None  # noqa: S101 -- only predictions with a webhook are in the outbox
        host = urlsplit(webhook.url).netloc
        if self._hosts[host] >= CONCURRENT_PER_HOST:
            await asyncio.to_thread(self._outbox.postpone, prediction.id, BUSY_HOST)
            return
        self._hosts[host] += 1
        try:
            body = await asyncio.to_thread(self._render, prediction)
            with span(
                "webhook",
                parent=prediction.traceparent,
                kind=SpanKind.CLIENT,
                attributes={"klein.prediction": prediction.id, "server.address": host},
            ):
                attempt = await self._sender.post(prediction.id, webhook, body)
        finally:
            self._hosts[host] -= 1
        await self._record(prediction, attempt)

    async def _record(self, prediction: Prediction, attempt: DeliveryAttempt) -> None:
        """Record an attempt, and wait for Redis if necessary: an unrecorded attempt is sent again."""
        while True:
            try:
                await asyncio.to_thread(self._outbox.record, prediction, attempt)
            except Unavailable as exc:
                log.warning("webhook_not_recorded", prediction=prediction.id, error=str(exc))
                await asyncio.sleep(RETRY_S)
            else:
                outcome = "acknowledged" if attempt.is_acknowledged else "failed"
                WEBHOOK_ATTEMPTS.labels(outcome).inc()
                log.info(
                    "webhook_sent",
                    prediction=prediction.id,
                    status=attempt.status_code,
                    acknowledged=attempt.is_acknowledged,
                )
                return
