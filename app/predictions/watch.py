"""Wait until a prediction is final: one subscription a process wakes the waiters; the record is the truth."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import cast

import redis.asyncio
from redis.exceptions import RedisError

from app.logs import log
from app.predictions.prediction import Prediction
from app.predictions.store import FINAL_CHANNEL, decode, record_key, redis_errors

POLL_S = 10.0  # a lost announcement costs at most this much waiting
RECONNECT_S = 0.5


class Watch:
    """The waiters of one process."""

    def __init__(self, connection: "redis.asyncio.Redis", poll_s: float = POLL_S) -> None:
        self._redis = connection
        self._poll_s = poll_s
        self._waiters: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen for announcements while the body runs."""
        listener = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            while not listener.done():
                listener.cancel()  # more than once: redis-py swallows some while it connects
                await asyncio.wait({listener}, timeout=RECONNECT_S)

    async def read(self, prediction_id: str) -> Prediction:
        """Read the record. Raises UnknownPrediction or Unavailable."""
        with redis_errors():
            record = await self._redis.get(record_key(prediction_id))
        return decode(cast("bytes | None", record), prediction_id)

    async def wait(self, prediction_id: str, timeout: float | None) -> Prediction:
        """Return the prediction once it is final, or as it is after `timeout` seconds (None: no limit)."""
        clock = asyncio.get_running_loop().time
        ends = clock() + timeout if timeout is not None else float("inf")
        event = asyncio.Event()
        self._waiters[prediction_id].add(event)
        try:
            while True:
                event.clear()
                prediction = await self.read(
                    prediction_id
                )  # after clear: a later change sets it again
                _heed_cancellation()
                left = ends - clock()
                if prediction.status.is_final or left <= 0:
                    return prediction
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, self._poll_s)):
                        await event.wait()
        finally:
            self._waiters[prediction_id].discard(event)
            if not self._waiters[prediction_id]:
                del self._waiters[prediction_id]

    @property
    def waiting(self) -> int:
        """Count the waiters."""
        return sum(len(events) for events in self._waiters.values())

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(FINAL_CHANNEL)
                    async for message in pubsub.listen():
                        if message["type"] != "message":  # subscribed, or silently so once more
                            self._wake_all()  # what ended before was not announced to us
                            continue
                        self._wake(message["data"].decode(errors="replace"))
            except RedisError as exc:
                log.warning("subscription_lost", error=str(exc))
                await asyncio.sleep(RECONNECT_S)

    def _wake(self, prediction_id: str) -> None:
        for event in self._waiters.get(prediction_id, ()):
            event.set()

    def _wake_all(self) -> None:
        for prediction_id in self._waiters:
            self._wake(prediction_id)


def _heed_cancellation() -> None:
    """Raise the cancellation that redis-py swallows now and then: nobody waits for this any more."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
