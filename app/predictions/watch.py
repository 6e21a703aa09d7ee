"""Wait until a prediction is final, or follow it there: one subscription a process wakes who waits.

An announcement is a hint, the record is the truth.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import cast

import redis.asyncio
from redis.exceptions import RedisError

from app.logs import log
from app.predictions.errors import ShuttingDown
from app.predictions.prediction import Prediction
from app.predictions.redis_errors import redis_errors
from app.predictions.redis_keys import CHANGED_CHANNEL, FINAL_CHANNEL, preview_key, record_key
from app.predictions.store import decode

POLL_S = 10.0  # a lost announcement costs at most this much waiting
RECONNECT_S = 0.5
NEVER = float("inf")

_Woken = defaultdict[str, set[asyncio.Event]]  # by prediction id


class Watch:
    """The waiters of one process."""

    def __init__(self, connection: "redis.asyncio.Redis", poll_s: float = POLL_S) -> None:
        self._redis = connection
        self._poll_s = poll_s
        self._waiters: _Woken = defaultdict(set)  # by the end
        self._followers: _Woken = defaultdict(set)  # by each change
        self._shutdown_at: float | None = None  # once this process is told to stop

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

    async def preview(self, prediction_id: str) -> bytes | None:
        """Read how the picture looks by now, a WebP file; None where nobody asked for it, or it has ended."""
        with redis_errors():
            return cast("bytes | None", await self._redis.get(preview_key(prediction_id)))

    async def wait(self, prediction_id: str, timeout: float | None) -> Prediction:
        """Return the prediction once it is final, or as it is after `timeout` seconds (None: no limit).

        Raises ShuttingDown where there is no limit and this process is told to stop.
        """
        ends = _now() + timeout if timeout is not None else NEVER
        with _registered(self._waiters, prediction_id) as event:
            while True:
                event.clear()
                prediction = await self.read(
                    prediction_id
                )  # after clear: a later change sets it again
                _heed_cancellation()
                left = self._left_s(ends)
                if prediction.status.is_final or (left <= 0 and ends != NEVER):
                    return prediction
                if left <= 0:
                    raise ShuttingDown
                await _pause(event, min(left, self._poll_s))

    async def follow(self, prediction_id: str) -> AsyncGenerator[Prediction]:
        """Yield the prediction as it is now, then whenever it has got on, until it has ended.

        Who is slow misses what was in between, never the end, unless this process is told to stop. Raises
        UnknownPrediction or Unavailable.
        """
        seen = None
        with _registered(self._followers, prediction_id) as event:
            while True:
                event.clear()
                prediction = await self.read(prediction_id)  # after clear, as above
                _heed_cancellation()
                if (now := _progress(prediction)) != seen:
                    seen = now
                    yield prediction
                if prediction.status.is_final or self._shutdown_at is not None:
                    return
                await _pause(event, self._poll_s)

    def release_waiters(self, within_s: float) -> None:
        """Have nobody wait any more: who set a limit is answered now, who follows is cut, all others have `within_s`."""
        self._shutdown_at = _now() + within_s
        self._wake_all()

    @property
    def waiting(self) -> int:
        """Count those who wait or follow."""
        both = (self._waiters, self._followers)
        return sum(len(events) for woken in both for events in woken.values())

    def _left_s(self, ends: float) -> float:
        if self._shutdown_at is None:
            return ends - _now()
        return self._shutdown_at - _now() if ends == NEVER else 0.0

    async def _listen(self) -> None:
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(FINAL_CHANNEL, CHANGED_CHANNEL)
                    async for message in pubsub.listen():
                        if message["type"] != "message":  # subscribed, or silently so once more
                            self._wake_all()  # what ended before was not announced to us
                            continue
                        prediction_id = message["data"].decode(errors="replace")
                        if message["channel"] == FINAL_CHANNEL.encode():
                            _wake(self._waiters, prediction_id)
                        _wake(self._followers, prediction_id)
            except RedisError as exc:
                log.warning("subscription_lost", error=str(exc))
                await asyncio.sleep(RECONNECT_S)

    def _wake_all(self) -> None:
        for woken in (self._waiters, self._followers):
            for prediction_id in woken:
                _wake(woken, prediction_id)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _wake(woken: _Woken, prediction_id: str) -> None:
    for event in woken.get(prediction_id, ()):
        event.set()


@contextmanager
def _registered(woken: _Woken, prediction_id: str) -> Iterator[asyncio.Event]:
    event = asyncio.Event()
    woken[prediction_id].add(event)
    try:
        yield event
    finally:
        woken[prediction_id].discard(event)
        if not woken[prediction_id]:
            del woken[prediction_id]


async def _pause(event: asyncio.Event, most_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(most_s):
            await event.wait()


def _progress(prediction: Prediction) -> tuple[object, ...]:
    """Tell how far it is: a renewed lease is no progress."""
    return prediction.status, prediction.attempt, prediction.step


def _heed_cancellation() -> None:
    """Raise the cancellation that redis-py swallows now and then: nobody waits for this any more."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
