"""The delivery part of a courier, wired as in worker/courier.py, in a thread of the test."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from app.predictions.prediction import Webhook
from app.predictions.redis_keys import WEBHOOKS_DUE, deliveries_key, record_key
from app.safe_http import SafeHttp
from app.webhooks.deliverer import REST_S, Deliverer
from app.webhooks.delivery import DeliveryAttempt
from app.webhooks.outbox import Outbox
from app.webhooks.send import Sender
from tests.support.fakes import a_prediction, a_store, eventually

PAUSES = (timedelta(milliseconds=20),) * 2


class Post:
    """Deliveries with short delays, and the courier that makes them."""

    def __init__(
        self,
        connection: "redis.Redis",
        within_s: float = 5.0,
        http: SafeHttp | None = None,
        per_minute: float = 6000,
    ) -> None:
        self.connection = connection
        self.store = a_store(connection)
        self.outbox = Outbox(connection, self.store, PAUSES)
        self.sender = Sender(http or SafeHttp(("127.0.0.1",)), lambda: datetime.now(UTC), within_s)
        self._per_minute = per_minute

    def owe(self, url: str, prediction_id: str = "p", key_id: str = "key") -> None:
        """End a prediction that has a webhook."""
        webhook = Webhook(url=url, secret="hush", base="http://klein.test")
        self.store.add(a_prediction(prediction_id, webhook=webhook, key_id=key_id))
        self.store.change(prediction_id, lambda p, now: p.claim("a", now))
        self.store.change(prediction_id, lambda p, now: p.succeed("a", (), (), now))

    def owe_many(self, urls: Iterable[str], key_id: str) -> list[str]:
        """End one prediction for each URL, as `owe` does but quickly, and return their ids."""
        model = f"{key_id}-model"
        self.owe("http://127.0.0.1:1/", model, key_id)
        record = json.loads(self.connection.get(record_key(model)) or b"")
        self.store.delete(self.store.get(model))
        pipe = self.connection.pipeline()
        ids = []
        for number, url in enumerate(urls):
            prediction_id = f"{key_id}-{number}"
            ids.append(prediction_id)
            copy = record | {"id": prediction_id, "webhook": record["webhook"] | {"url": url}}
            pipe.set(record_key(prediction_id), json.dumps(copy))
            pipe.zadd(WEBHOOKS_DUE, {prediction_id: 0})
            pipe.zadd(deliveries_key(key_id), {prediction_id: 0})
        pipe.execute()
        return ids

    @contextmanager
    def courier(
        self, render: Callable[[Any], bytes] | None = None, rest_s: float = REST_S
    ) -> Iterator[Deliverer]:
        """Run a courier in a thread."""
        stopping = threading.Event()
        deliverer = Deliverer(
            self.outbox,
            self.store,
            self.sender,
            render or (lambda p: f'{{"exec_id":"{p.id}"}}'.encode()),
            self._per_minute,
            rest_s,
        )
        thread = threading.Thread(target=lambda: asyncio.run(deliverer.run(stopping)))
        thread.start()
        try:
            yield deliverer
        finally:
            stopping.set()
            deliverer.wake()
            thread.join()

    def attempts(
        self, prediction_id: str = "p", key_id: str = "key"
    ) -> tuple[DeliveryAttempt, ...]:
        """Return the recorded attempts."""
        return self.outbox.get(key_id, prediction_id)[1].attempts

    def due(self) -> int:
        """Count the deliveries that have not ended."""
        return self.connection.zcard(WEBHOOKS_DUE)

    def until_over(self, prediction_id: str = "p") -> tuple[DeliveryAttempt, ...]:
        """Wait until a delivery has ended, and return its attempts."""
        eventually(lambda: self.connection.zscore(WEBHOOKS_DUE, prediction_id) is None)
        return self.attempts(prediction_id)
