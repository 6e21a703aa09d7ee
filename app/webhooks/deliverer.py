"""Delivers webhooks concurrently, so that a slow receiver delays only its own.

A key, a receiver and the look-ups of host names have slots (`slots`). What has none waits, and costs no attempt.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from opentelemetry.trace import SpanKind

from app.dns import LookupsBusy
from app.logs import log
from app.metrics import WEBHOOK_ATTEMPTS
from app.predictions.errors import Unavailable, UnknownPrediction
from app.predictions.prediction import Prediction
from app.predictions.store import Store
from app.safe_http import Resolution
from app.storage.errors import StorageError
from app.tracing import span
from app.webhooks.delivery import DeliveryAttempt
from app.webhooks.lines import TakenDelivery
from app.webhooks.messages import Message
from app.webhooks.outbox import Outbox
from app.webhooks.send import Sender
from app.webhooks.slots import CONCURRENT, Slots

POLL_S = 0.25  # while there is work
REST_S = 1.0  # without, unless `wake` is called: an announcement may be lost
LINED_UP = 1000  # deliveries at most, at each poll
BUSY_S = 1.0  # before a delivery is tried again for which there was no slot, or whose last message is in progress
RETRY_S = 1.0  # while Redis does not respond


class Deliverer:
    """Delivers what is due and records the attempts. Any number of processes may run it."""

    def __init__(  # noqa: PLR0913 -- the courier wires each part by name
        self,
        outbox: Outbox,
        store: Store,
        sender: Sender,
        render: Callable[[Prediction], bytes],
        per_minute: float,  # deliveries of one key that start
        rest_s: float = REST_S,  # without work
    ) -> None:
        self._outbox = outbox
        self._store = store
        self._sender = sender
        self._render = render
        self._rest_s = rest_s
        self._running: dict[str, asyncio.Task[None]] = {}
        self._slots = Slots(per_minute / 60)
        self._loop: asyncio.AbstractEventLoop | None = None  # while it runs
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look for work now, if it waits for some. Any thread may call it."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it has just ended
                self._loop.call_soon_threadsafe(self._woken.set)

    async def run(self, stopping: threading.Event) -> None:
        """Deliver until `stopping` is set. Deliveries in progress are then made again later."""
        self._loop = asyncio.get_running_loop()
        while not stopping.is_set():
            try:
                rest_s = await self._start_due()
            except Unavailable as exc:
                log.warning("webhooks_wait", error=str(exc))
                rest_s = RETRY_S
            if rest_s:
                await self._rest(rest_s)
            else:
                await asyncio.sleep(POLL_S)
        await self._shut_down()

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        self._woken.clear()

    async def _start_due(self) -> float:
        """Start what is due. Return how many seconds there is nothing to do, 0 if there may be something soon."""
        next_due = await asyncio.to_thread(self._outbox.next_due)
        if next_due is None or next_due > timedelta():
            return self._rest_s if next_due is None else min(self._rest_s, next_due.total_seconds())
        await asyncio.to_thread(self._outbox.line_up, LINED_UP)
        for _ in range(CONCURRENT):  # at most: what has no free slot ends at once
            if self._slots.is_full:
                return 0.0
            taken = await asyncio.to_thread(self._outbox.take, self._slots.busy(time.monotonic()))
            if taken is None:
                return 0.0
            if taken.id in self._running:
                await asyncio.to_thread(self._outbox.postpone, taken.id, timedelta(seconds=BUSY_S))
            elif self._slots.start(taken):
                self._start(taken)
        return 0.0

    def _start(self, taken: TakenDelivery) -> None:
        task = asyncio.create_task(self._deliver(taken))
        self._running[taken.id] = task

        def end(_: asyncio.Task[None]) -> None:
            del self._running[taken.id]
            self._slots.end(taken)

        task.add_done_callback(end)

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

    async def _deliver(self, taken: TakenDelivery) -> None:
        try:
            prediction = await asyncio.to_thread(self._store.get, taken.id)
            await self._deliver_one(prediction, taken)
        except UnknownPrediction:
            await asyncio.to_thread(self._outbox.drop, taken.id)
        except (Unavailable, StorageError) as exc:  # the lease expires, and it is due again
            log.warning("webhook_waits", prediction=taken.id, error=str(exc))
        except Exception:  # noqa: BLE001 -- around a job: an unforeseen error must be logged
            log.exception("webhook_failed", prediction=taken.id)

    async def _deliver_one(self, prediction: Prediction, taken: TakenDelivery) -> None:
        webhook = prediction.webhook
        assert webhook is not None  # noqa: S101 -- only predictions with a webhook are in the outbox
        try:
            receiver = await self._sender.resolve(webhook, prediction.key_id)
        except LookupsBusy:
            await self._wait(taken)
            return
        if not self._slots.reserve(taken, receiver.addresses, time.monotonic()):
            await self._wait(taken)
            return
        try:
            messages = await asyncio.to_thread(self._outbox.take_messages, prediction)
            attempts = [await self._post(m, taken.host, receiver) for m in messages]
        finally:
            self._slots.unreserve(taken, receiver.addresses)
        for message, attempt in zip(messages, attempts, strict=True):
            await self._record(message, attempt)

    async def _post(self, message: Message, host: str, receiver: Resolution) -> DeliveryAttempt:
        prediction = message.prediction
        assert prediction.webhook is not None  # noqa: S101 -- see `_deliver_one`
        body = await asyncio.to_thread(self._render, prediction)
        with span(
            "webhook",
            parent=prediction.traceparent,
            kind=SpanKind.CLIENT,
            attributes={"klein.prediction": prediction.id, "server.address": host},
        ):
            return await self._sender.post(message, prediction.webhook, body, receiver)

    async def _wait(self, taken: TakenDelivery) -> None:
        """Return a delivery that has no slot, and try no other of its line for a while."""
        self._slots.block(taken, time.monotonic() + BUSY_S)
        await asyncio.to_thread(self._outbox.postpone, taken.id, timedelta(seconds=BUSY_S))

    async def _record(self, message: Message, attempt: DeliveryAttempt) -> None:
        """Record an attempt, and wait for Redis if necessary: an unrecorded attempt is sent again."""
        prediction = message.prediction
        while True:
            try:
                await asyncio.to_thread(self._outbox.record_message, message, attempt)
            except Unavailable as exc:
                log.warning("webhook_not_recorded", prediction=prediction.id, error=str(exc))
                await asyncio.sleep(RETRY_S)
            else:
                outcome = "acknowledged" if attempt.is_acknowledged else "failed"
                WEBHOOK_ATTEMPTS.labels(outcome).inc()
                log.info(
                    "webhook_sent",
                    prediction=prediction.id,
                    about=message.event.value,
                    status=attempt.status_code,
                    acknowledged=attempt.is_acknowledged,
                )
                return
