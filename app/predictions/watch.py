"""Wakes waiters and followers of predictions, with one Redis subscription for each process.

A message only triggers a read of the record.
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

POLL_S = 10.0  # the longest delay after a lost message
RECONNECT_S = 0.5
NEVER = float("inf")

_Events = defaultdict[str, set[asyncio.Event]]  # by prediction id


class Watch:
    """The waiters and followers of one process."""

    def __init__(self, connection: "redis.asyncio.Redis", poll_s: float = POLL_S) -> None:
        self._redis = connection
        self._poll_s = poll_s
        self._waiters: _Events = defaultdict(set)  # woken by the end
        self._followers: _Events = defaultdict(set)  # woken by each change
        self._shutdown_at: float | None = None  # set at shutdown

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen for messages while the body runs."""
        listener = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            while not listener.done():
                listener.cancel()  # repeatedly: redis-py swallows cancellations while it connects
                await asyncio.wait({listener}, timeout=RECONNECT_S)

    async def read(self, prediction_id: str) -> Prediction:
        """Read the record. Raises UnknownPrediction or Unavailable."""
        with redis_errors():
            record = await self._redis.get(record_key(prediction_id))
        return decode(cast("bytes | None", record), prediction_id)

    async def preview(self, prediction_id: str) -> bytes | None:
        """Read the latest preview, a WebP file; None without previews or after the end."""
        with redis_errors():
            return cast("bytes | None", await self._redis.get(preview_key(prediction_id)))

    async def wait(self, prediction_id: str, timeout: float | None) -> Prediction:
        """Return the prediction once it is final, or as it is after `timeout` seconds (None: no limit).

        Raises ShuttingDown where there is no limit and this process is shutting down.
        """
        ends = _now() + timeout if timeout is not None else NEVER
        with _registered(self._waiters, prediction_id) as event:
            while True:
                event.clear()
                prediction = await self.read(
                    prediction_id
                )  # after clear: a later change sets it again
                _raise_if_cancelled()
                left = self._left_s(ends)
                if prediction.status.is_final or (left <= 0 and ends != NEVER):
                    return prediction
                if left <= 0:
                    raise ShuttingDown
                await _pause(event, min(left, self._poll_s))

    async def follow(self, prediction_id: str) -> AsyncGenerator[Prediction]:
        """Yield the prediction as it is now, then after each change, until it is final.

        A slow follower misses intermediate states, but never the end, except at shutdown. Raises UnknownPrediction
        or Unavailable.
        """
        seen = None
        with _registered(self._followers, prediction_id) as event:
            while True:
                event.clear()
                prediction = await self.read(prediction_id)  # after clear, as above
                _raise_if_cancelled()
                if (now := _progress(prediction)) != seen:
                    seen = now
                    yield prediction
                if prediction.status.is_final or self._shutdown_at is not None:
                    return
                await _pause(event, self._poll_s)

    def release_waiters(self, within_s: float) -> None:
        """Release all waiters: timed waits return now, event streams close, others have `within_s`."""
        self._shutdown_at = _now() + within_s
        self._wake_all()

    @property
    def waiting(self) -> int:
        """Count waiters and followers."""
        both = (self._waiters, self._followers)
        return sum(len(events) for by_id in both for events in by_id.values())

    @property
    def watched(self) -> frozenset[str]:
        """The ids of the predictions that somebody waits for or follows."""
        return frozenset(self._waiters) | frozenset(self._followers)

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
                        if (
                            message["type"] != "message"
                        ):  # subscribed, perhaps after a silent reconnect
                            self._wake_all()  # messages before that were missed
                            continue
                        prediction_id = message["data"].decode(errors="replace")
                        if message["channel"] == FINAL_CHANNEL.encode():
                            _wake(self._waiters, prediction_id)
                        _wake(self._followers, prediction_id)
            except RedisError as exc:
                log.warning("subscription_lost", error=str(exc))
                await asyncio.sleep(RECONNECT_S)

    def _wake_all(self) -> None:
        for events in (self._waiters, self._followers):
            for prediction_id in events:
                _wake(events, prediction_id)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _wake(events: _Events, prediction_id: str) -> None:
    for event in events.get(prediction_id, ()):
        event.set()


@contextmanager
def _registered(events: _Events, prediction_id: str) -> Iterator[asyncio.Event]:
    event = asyncio.Event()
    events[prediction_id].add(event)
    try:
        yield event
    finally:
        events[prediction_id].discard(event)
        if not events[prediction_id]:
            del events[prediction_id]


async def _pause(event: asyncio.Event, most_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(most_s):
            await event.wait()


def _progress(prediction: Prediction) -> tuple[object, ...]:
    """Return what counts as progress; a renewed lease does not."""
    return prediction.status, prediction.attempt, prediction.step


def _raise_if_cancelled() -> None:
    """Raise a cancellation that redis-py has swallowed."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
