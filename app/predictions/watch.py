"""Wakes waiters and followers of predictions, with one Redis subscription for each process.

The announcement of an end brings the final record. Any other message only triggers a read.
"""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from functools import cache, partial
from typing import cast

from redis.exceptions import RedisError

from app.logs import log
from app.predictions.errors import ShuttingDown
from app.predictions.prediction import Prediction, Status
from app.predictions.record_reader import decode
from app.predictions.redis_errors import redis_errors
from app.predictions.redis_keys import (
    CHANGED_CHANNEL,
    ENDED_CHANNEL,
    FINAL_CHANNEL,
    OPEN,
    preview_key,
    record_key,
)
from app.predictions.waiter import Idle, Waiter, until_woken
from app.shared_connection import SharedRedis
from app.subscription import Subscription

POLL_S = 10.0  # the longest delay after a lost message
CHECK_PART = 1000  # waiters in one check
SLOW_CHECK_S = 2.0  # then all waiters read, and learn themselves that Redis does not respond
ENDS_KEPT = 100  # announced ends, for those that begin to wait meanwhile
RECONNECT_S = 0.5
NEVER = float("inf")
FAR_S = 3600.0

OnEnd = Callable[[str, Callable[[], Prediction]], None]
"""Called with the id of each prediction that ends, whichever process accepted it, and what reads its final record."""
_Waiters = defaultdict[str, set[Waiter]]  # by prediction id


class Watch:
    """The waiters and followers of one process."""

    def __init__(
        self,
        connection: SharedRedis,
        poll_s: float = POLL_S,
        on_end: OnEnd = lambda _id, _read_end: None,
    ) -> None:
        self._redis = connection
        self._poll_s = poll_s
        self._on_end = on_end
        self._waiters: _Waiters = defaultdict(set)  # woken by the end
        self._followers: _Waiters = defaultdict(set)  # woken by each change
        self._ends: OrderedDict[str, Callable[[], Prediction]] = OrderedDict()  # the latest
        self.waiter_count = 0
        """The number of waiters and followers. Any thread may read it."""
        self._shutdown_at: float | None = None  # set at shutdown
        self._subscription = Subscription(connection, self._hear, self._catch_up)
        self._hears_changes = False

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen for messages while the body runs."""
        tasks = {asyncio.create_task(work) for work in (self._listen(), self._check_regularly())}
        try:
            yield
        finally:
            while tasks:
                for task in tasks:
                    task.cancel()  # repeatedly: redis-py swallows cancellations while it connects
                _, tasks = await asyncio.wait(tasks, timeout=RECONNECT_S)

    async def read(self, prediction_id: str) -> Prediction:
        """Read the record. Raises UnknownPrediction or Unavailable."""
        with redis_errors():
            record = await self._redis.get(record_key(prediction_id))
        return decode(cast("bytes | None", record), prediction_id)

    async def preview(self, prediction_id: str) -> bytes | None:
        """Read the latest preview, a WebP file, or None without previews or after the end."""
        with redis_errors():
            return cast("bytes | None", await self._redis.get(preview_key(prediction_id)))

    async def wait(
        self,
        prediction_id: str,
        timeout: float | None,
        known: Prediction | None = None,
        idle: Idle = until_woken,
    ) -> Prediction:
        """Return the prediction once it is final, or as it is after `timeout` seconds (None means no limit).

        `known` is what the caller has just read. `idle` is awaited meanwhile, and may raise to end the wait. Raises ShuttingDown
        if there is no limit and this process is shutting down.
        """
        ends = _now() + timeout if timeout is not None else NEVER
        waiter = self._add(self._waiters, prediction_id)
        try:
            prediction = await self._latest(prediction_id) if known is None else known
            if not prediction.status.is_final and prediction_id in self._ends:
                prediction = await self._latest(prediction_id)  # it ended since it was read
            while True:
                _raise_if_cancelled()
                remaining_s = self._left_s(ends)
                if prediction.status.is_final or (remaining_s <= 0 and ends != NEVER):
                    return prediction
                if remaining_s <= 0:
                    raise ShuttingDown
                await waiter.pause(min(remaining_s, FAR_S), idle)
                prediction = await self._latest(prediction_id)  # a later end ends the next pause
        finally:
            self._remove(self._waiters, prediction_id, waiter)

    async def follow(
        self,
        prediction_id: str,
        again_s: Callable[[], float] = lambda: FAR_S,
        turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> AsyncGenerator[Prediction]:
        """Yield the prediction as it is now, then after each change, until it is final.

        While it waits it is yielded again after `again_s` seconds, because its place in the queue may have changed. `turn`
        is entered to read the record. A slow follower misses intermediate states, but never the end, except at shutdown.
        Raises UnknownPrediction or Unavailable.
        """
        last_progress = None
        follower = self._add(self._followers, prediction_id)
        try:
            self._hear_changes()
            while True:
                async with turn():
                    prediction = await self._latest(prediction_id)
                _raise_if_cancelled()
                if (now := _progress(prediction)) != last_progress:
                    last_progress = now
                    yield prediction
                if prediction.status.is_final or self._shutdown_at is not None:
                    return
                waits = prediction.status is Status.QUEUED
                while not await follower.pause(again_s() if waits else FAR_S) and waits:
                    yield prediction
        finally:
            self._remove(self._followers, prediction_id, follower)

    def release_waiters(self, within_s: float) -> None:
        """Release all waiters: timed waits return now, event streams close, others have `within_s`."""
        self._shutdown_at = _now() + within_s
        self._wake_all()

    @property
    def watched(self) -> frozenset[str]:
        """The ids of the predictions that somebody waits for or follows."""
        return frozenset(self._waiters) | frozenset(self._followers)

    def _add(self, waiters: _Waiters, prediction_id: str) -> Waiter:
        """Add a waiter that the announcements of a prediction wake."""
        waiter = Waiter()
        waiters[prediction_id].add(waiter)
        self.waiter_count += 1
        return waiter

    def _remove(self, waiters: _Waiters, prediction_id: str, waiter: Waiter) -> None:
        self.waiter_count -= 1
        waiters[prediction_id].discard(waiter)
        if not waiters[prediction_id]:
            del waiters[prediction_id]

    async def _latest(self, prediction_id: str) -> Prediction:
        """Return the prediction as it was announced to have ended, or else read it."""
        if (read_end := self._ends.get(prediction_id)) is not None:
            return read_end()
        return await self.read(prediction_id)

    def _left_s(self, ends: float) -> float:
        if self._shutdown_at is None:
            return ends - _now()
        return self._shutdown_at - _now() if ends == NEVER else 0.0

    async def _listen(self) -> None:
        while True:
            try:
                await self._subscription.listen(ENDED_CHANNEL, FINAL_CHANNEL)
            except RedisError as exc:
                self._hears_changes = False
                log.warning("subscription_lost", error=str(exc))
                await asyncio.sleep(RECONNECT_S)

    def _catch_up(self, channel: str) -> None:
        """Wake those that may have missed a message before the subscription."""
        if channel == ENDED_CHANNEL:
            self._wake_all()
            if self._followers:
                self._hear_changes()
        elif channel == CHANGED_CHANNEL:
            _wake_each(self._followers)

    def _hear_changes(self) -> None:
        """Subscribe to changes before the end, if somebody follows. The confirmation wakes the followers."""
        if not self._hears_changes:
            self._hears_changes = self._subscription.add(CHANGED_CHANNEL)

    def _ignore_changes(self) -> None:
        if self._hears_changes:
            self._hears_changes = False
            self._subscription.remove(CHANGED_CHANNEL)

    def _hear(self, channel: str, data: bytes) -> None:
        name, _, record = data.partition(b"\n")
        prediction_id = name.decode(errors="replace")
        if channel == ENDED_CHANNEL:
            read_end = cache(partial(decode, record, prediction_id))  # once for all
            self._ends[prediction_id] = read_end
            self._on_end(prediction_id, read_end)
            if len(self._ends) > ENDS_KEPT:
                self._ends.popitem(last=False)
        if channel != CHANGED_CHANNEL:
            _wake(self._waiters, prediction_id)
        _wake(self._followers, prediction_id)

    async def _check_regularly(self) -> None:
        """Find the ends whose announcements were lost, with one read for all waiters."""
        while True:
            await asyncio.sleep(self._poll_s)
            check = asyncio.create_task(self._check())
            try:
                if not (await asyncio.wait({check}, timeout=SLOW_CHECK_S))[0]:
                    self._wake_all()
                await check
            except RedisError:
                self._wake_all()
            finally:
                check.cancel()

    async def _check(self) -> None:
        if self._followers:
            self._hear_changes()
        else:
            self._ignore_changes()
        for waiters in (self._waiters, self._followers):
            ids = list(waiters)
            for start in range(0, len(ids), CHECK_PART):
                part = ids[start : start + CHECK_PART]
                times = await self._redis.zmscore(OPEN, part)
                for prediction_id, time in zip(part, times, strict=True):
                    if time is None or waiters is self._followers:
                        _wake(waiters, prediction_id)

    def _wake_all(self) -> None:
        for waiters in (self._waiters, self._followers):
            _wake_each(waiters)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _wake_each(waiters: _Waiters) -> None:
    for prediction_id in waiters:
        _wake(waiters, prediction_id)


def _wake(waiters: _Waiters, prediction_id: str) -> None:
    for waiter in waiters.get(prediction_id, ()):
        waiter.wake()


def _progress(prediction: Prediction) -> tuple[object, ...]:
    """Return what counts as progress. A renewed lease does not."""
    start = prediction.engine_start
    return prediction.status, prediction.attempt, start and start.phase, prediction.step


def _raise_if_cancelled() -> None:
    """Raise a cancellation that redis-py has swallowed."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
