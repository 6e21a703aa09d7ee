"""Measures what callers that wait cost an API process: how soon they are woken, and their processor time and memory at rest.

`make bench-peers` runs it.
"""

import asyncio
import statistics
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own

from app.keys import hash_key
from app.predictions.prediction import Output, Prediction
from app.predictions.queue import Queues
from app.predictions.store import Store
from benchmarks.client import Connection
from benchmarks.processes import KEY, listening, rss_mb
from tests.support.redis_server import running_redis

CROWD = 2000
WAKES = 400
START_S = 60.0
METRICS_KEPT_S = 1.0  # a scrape within it gets the same numbers
SETTLE_S = 2.0  # for what ends with the last request
SIDE = 128
SLUG = "flux-2-klein-4b-text-to-image"
HISTORY_ID = hash_key(KEY)[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An API process, and running predictions to wait for."""

    port: int
    pid: int
    store: Store
    ids: list[str]


@contextmanager
def target(count: int) -> Iterator[Target]:
    """Run an API process with this many running predictions."""
    with running_redis() as server, listening("api", REDIS_URL=server.url) as (port, api):
        connection = server.connect()
        store = Store(connection, Queues(connection), timedelta(days=1))
        ids = [f"bench-{number}" for number in range(count)]
        for prediction_id in ids:
            prediction = Prediction(
                id=prediction_id,
                key_id=HISTORY_ID,
                model=SLUG,
                input={"prompt": "a red circle"},
                created_at=datetime.now(UTC),
            )
            store.add(prediction)
            store.change(prediction_id, lambda p, now: p.claim("bench", now))
        yield Target(port=port, pid=api.pid, store=store, ids=ids)


@asynccontextmanager
async def polls(measured: Target) -> AsyncIterator[list[Connection]]:
    """Send a long poll for each prediction, and wait until all wait."""
    waiting: list[Connection] = []
    for prediction_id in measured.ids:
        waiter = await Connection.open(measured.port)
        waiter.send("GET", f"/v1/prediction/{prediction_id}?wait=60", KEY)
        waiting.append(waiter)
    await _until_waiting(measured)
    yield waiting
    for waiter in waiting:
        waiter.close()


async def _until_waiting(measured: Target) -> None:
    """Wait until the API process counts as many waiters as there are predictions. Raises TimeoutError after START_S."""
    gauge = f"klein_waiters {len(measured.ids):.1f}\n"
    scraper = await Connection.open(measured.port)
    async with asyncio.timeout(START_S):
        while gauge not in (await scraper.download("http://x/metrics")).decode():  # noqa: ASYNC110 -- nothing announces it
            await asyncio.sleep(METRICS_KEPT_S)
    scraper.close()
    await asyncio.sleep(SETTLE_S)


def measure_wakes(waiters: int, rounds: int) -> tuple[float, float]:
    """End some of the predictions one by one, and time the responses. Return their median and p99 in ms."""
    times = [ms for _ in range(rounds) for ms in _wake_round(waiters)]
    return statistics.median(times), statistics.quantiles(times, n=100)[98]


def _wake_round(waiters: int) -> list[float]:
    async def end_some(measured: Target) -> list[float]:
        output = (Output(key="bench/0.png", width=SIDE, height=SIDE),)
        clock = asyncio.get_running_loop().time
        times = []
        async with polls(measured) as waiting:
            for k in range(0, waiters, max(1, waiters // WAKES)):
                await asyncio.sleep(0.005)
                began = clock()  # includes the write
                await asyncio.to_thread(
                    measured.store.change,
                    measured.ids[k],
                    lambda p, now: p.succeed("bench", output, (), now),
                )
                await waiting[k].receive()
                times.append((clock() - began) * 1000)
        return times

    with target(waiters) as measured:
        return asyncio.run(end_some(measured))


def measure_rest(waiters: int, seconds: float) -> tuple[float, float]:
    """Let waiters wait in silence. Return the share of a core of the API process, and the KB of memory of each waiter."""

    async def rest(measured: Target) -> tuple[float, float]:
        process = psutil.Process(measured.pid)
        before_mb = rss_mb(measured.pid)
        async with polls(measured):
            each_kb = (rss_mb(measured.pid) - before_mb) * 1024 / waiters
            before = process.cpu_times()
            await asyncio.sleep(seconds)
            after = process.cpu_times()
        used_s = after.user + after.system - before.user - before.system
        return used_s / seconds, each_kb

    with target(waiters) as measured:
        return asyncio.run(rest(measured))
