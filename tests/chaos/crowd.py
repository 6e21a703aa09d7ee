"""Crowd test: thousands of predictions of many keys are queued, thousands of callers wait, and then the workers start."""

import asyncio
import resource
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]  # its stubs are a separate package

from app.predictions.redis_keys import ENDED_CHANNEL
from benchmarks.client import Connection
from tests.chaos.load import FINAL, TEXT
from tests.chaos.system import System, running_system
from tests.chaos.verdict import Verdict, percentile

CREATORS = 20
SIZE = {"width": 64, "height": 64}
PATIENCE_S = 600.0


class Announcements(threading.Thread):
    """Records when each end was announced."""

    def __init__(self, system: System) -> None:
        super().__init__(daemon=True)
        self.at: dict[str, float] = {}
        self.stopping = threading.Event()
        self._pubsub = system.connect().pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(ENDED_CHANNEL)

    def run(self) -> None:
        while not self.stopping.is_set():
            message = self._pubsub.get_message(timeout=1)
            if message:
                self.at[message["data"].partition(b"\n")[0].decode()] = time.monotonic()


def crowd(predictions: int = 5000, keys: int = 50, waiters: int = 2000) -> Verdict:
    """Queue, wait, run, and compare the response of each caller."""
    verdict = Verdict()
    _, max_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files))  # one per waiter
    names = [f"crowd-{k:02}-of-more-than-thirty-two-characters" for k in range(keys)]
    with running_system(workers=0, keys=names) as system:
        asyncio.run(_crowd(system, verdict, names, predictions, waiters))
    return verdict


async def _crowd(
    system: System, verdict: Verdict, keys: list[str], predictions: int, waiters: int
) -> None:
    port = urlsplit(system.url).port or 0
    await _await_port(port)
    empty_mb = _rss_mb(system.api.process.pid)
    started = time.monotonic()
    ids, times = await _create(port, keys, predictions)
    create_s = time.monotonic() - started
    queued_mb = _rss_mb(system.api.process.pid)
    with system.connect() as connection:
        redis_mb = connection.info("memory")["used_memory"] / 2**20
    announcements = Announcements(system)
    announcements.start()
    parked = [asyncio.create_task(_wait(port, key, p)) for key, p in ids[:waiters]]
    await asyncio.sleep(5)
    waiting_mb = _rss_mb(system.api.process.pid)
    system.add_workers(2)
    started = time.monotonic()
    answers = await asyncio.wait_for(asyncio.gather(*parked), PATIENCE_S)
    rest = [await _end(port, key, p) for key, p in ids[waiters:]]
    drain_s = time.monotonic() - started
    announcements.stopping.set()
    announcements.join()
    late = [
        at - announcements.at[p]
        for (_, p), (_, at) in zip(ids, answers, strict=False)
        if p in announcements.at
    ]
    states = [state for state, _ in answers] + rest
    for (_, prediction_id), state in zip(ids, states, strict=True):
        if state != "success":
            verdict.violation(f"{prediction_id}: {state}")
    if len({p for _, p in ids}) != predictions:
        verdict.violation(f"{len(ids)} accepted of {predictions}")
    ms = [1000 * seconds for seconds in times]
    late_ms = [1000 * seconds for seconds in late]
    verdict.row(
        f"{predictions} creates by {len(keys)} keys",
        f"{create_s:.1f} s; each p50 {percentile(ms, 50):.0f} ms, p95 {percentile(ms, 95):.0f} ms",
    )
    verdict.row(f"all ended, {waiters} of them waited for", f"{drain_s:.1f} s with two workers")
    verdict.row(
        "from the end to the waiter's answer",
        f"p50 {percentile(late_ms, 50):.0f} ms, p95 {percentile(late_ms, 95):.0f} ms",
    )
    verdict.row(
        "memory of the api: idle, after the creates, with all waiters",
        f"{empty_mb:.0f} MB, {queued_mb:.0f} MB, {waiting_mb:.0f} MB",
    )
    verdict.row(f"memory of Redis with {predictions} queued", f"{redis_mb:.1f} MB")


async def _create(
    port: int, keys: list[str], count: int
) -> tuple[list[tuple[str, str]], list[float]]:
    """Create predictions over several connections at once, alternating between keys."""
    numbers = iter(range(count))
    ids: list[tuple[str, str]] = []
    times: list[float] = []

    async def creator() -> None:
        async with _connected(port) as connection:
            for number in numbers:
                key = keys[number % len(keys)]
                inputs = {"prompt": "crowd", "seed": number, "image_size": SIZE}
                began = time.monotonic()
                body = {"model": TEXT, "input": inputs}
                created = await connection.ask("POST", "/v1/prediction", key, body)
                times.append(time.monotonic() - began)
                ids.append((key, created["predictionID"]))

    await asyncio.gather(*(creator() for _ in range(CREATORS)))
    return ids, times


async def _wait(port: int, key: str, prediction_id: str) -> tuple[str, float]:
    """Long-poll until the end. Return the state and the time it was received."""
    async with _connected(port) as connection:
        while True:
            path = f"/v1/prediction/{prediction_id}?wait=60"
            body = await connection.ask("GET", path, key)
            if body["status"] in FINAL:
                return body["status"], time.monotonic()


async def _end(port: int, key: str, prediction_id: str) -> str:
    return (await _wait(port, key, prediction_id))[0]


@asynccontextmanager
async def _connected(port: int) -> AsyncIterator[Connection]:
    connection = await Connection.open(port)
    try:
        yield connection
    finally:
        connection.close()


async def _await_port(port: int) -> None:
    for _ in range(600):
        try:
            (await Connection.open(port)).close()
        except OSError:
            await asyncio.sleep(0.1)
        else:
            return


def _rss_mb(pid: int) -> float:
    rss: int = psutil.Process(pid).memory_info().rss
    return rss / 2**20
