"""Many event streams of one key: they take turns, show their places less often, and do not delay those of another key."""

import asyncio
from contextlib import aclosing, nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import redis.asyncio

from app.predictions.service import PLACES_PER_S, STREAM_TURNS, Service
from app.predictions.wait_limiter import WaitLimiter
from app.predictions.watch import FAR_S, Watch
from tests.support.fakes import a_prediction, a_store

STREAMS = 20


class GatedWatch(Watch):
    """Reads records once the gate is open, and counts the reads in progress."""

    def __init__(self, connection):
        super().__init__(connection)
        self.gate = asyncio.Event()
        self.reading = []
        self.asked_again_s = []

    async def read(self, prediction_id):
        self.reading.append(prediction_id)
        await self.gate.wait()
        return await super().read(prediction_id)

    def follow(self, prediction_id, again_s=lambda: FAR_S, turn=nullcontext):
        self.asked_again_s.append(again_s)
        return super().follow(prediction_id, again_s, turn)


@pytest.fixture
async def watch(redis_server):
    async with redis.asyncio.Redis.from_url(redis_server.url) as connection:
        yield GatedWatch(connection)


@pytest.fixture
def service(watch):
    """A service of which only the parts of event streams are used."""
    others = ("store", "history", "registry", "storage", "submissions", "timeouts", "admission")
    unused: dict[str, Any] = {name: SimpleNamespace() for name in (*others, "loras")}
    limiter = WaitLimiter(max_waiters=10_000, max_per_key=5_000)
    return Service(watch=watch, wait_limiter=limiter, **unused)


async def first_state(service, prediction):
    async with aclosing(service.follow(prediction)) as states:
        return await anext(states)


async def test_streams_of_a_key_take_turns(connection, watch, service):
    """Of many streams of a key only two are served at once. A stream of another key is not behind them."""
    store = a_store(connection)
    mine, other = a_prediction("mine", key_id="a"), a_prediction("other", key_id="b")
    store.add(mine)
    store.add(other)
    streams = [asyncio.create_task(first_state(service, mine)) for _ in range(STREAMS)]
    streams.append(asyncio.create_task(first_state(service, other)))
    while "other" not in watch.reading:  # noqa: ASYNC110 -- nothing announces it
        await asyncio.sleep(0.001)
    reading = list(watch.reading)
    watch.gate.set()

    assert reading == ["mine"] * STREAM_TURNS[1] + ["other"]
    assert {state.id for state in await asyncio.gather(*streams)} == {"mine", "other"}


async def test_many_streams_of_a_key_show_their_places_less_often(watch, service):
    """The time between two looks at a place grows with the streams of the key, and not with those of others."""
    service.follow(a_prediction(key_id="a"), 2.0)
    service.follow(a_prediction(key_id="b"), 2.0)
    of_a, of_b = watch.asked_again_s
    slots = [service.wait_slot("a") for _ in range(PLACES_PER_S * 10)]
    for slot in slots:
        slot.__enter__()

    assert of_a() == 10.0
    assert of_b() == 2.0
    for slot in slots:
        slot.__exit__(None, None, None)
    assert of_a() == 2.0
