"""Runs klein and other servers around the same job, and measures each."""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own

from benchmarks.peer_clients import HEADERS, Picture
from benchmarks.peer_environments import python_of
from benchmarks.peer_list import Peer
from benchmarks.peer_servers.job import JOB_S
from benchmarks.processes import KEY, free_port, process, wait_for_port
from tests.support.redis_calls import counting
from tests.support.redis_server import RedisServer, running_redis
from worker.engine_client.environment import engine_environment

CONNECTIONS = (8, 64)  # of a backlog
START_S = 240.0


@dataclass(slots=True, kw_only=True)
class Figures:
    """What was measured of a server."""

    start_s: float = 0.0  # processor, until the first answer
    start_mb: float = 0.0  # proportional share of memory, then
    processor_s: list[float] = field(default_factory=list)  # a request, by round
    latency_s: list[float] = field(default_factory=list)
    backlog: dict[int, list[float]] = field(default_factory=dict)
    """By connections: the jobs' own time, as a share of the time of each round."""

    def processor_ms(self) -> float:
        """Return the processor time of a request: the median of the rounds."""
        return statistics.median(self.processor_s) * 1000

    def backlog_share(self, connections: int) -> float:
        """Return the jobs' own time as a share of the time of a backlog: the median of the rounds."""
        return statistics.median(self.backlog[connections])


class Running:
    """A running server, with a client."""

    def __init__(
        self, peer: Peer, pids: list[int], client: httpx.AsyncClient, redis: RedisServer | None
    ) -> None:
        self.peer = peer
        self.figures = Figures()
        self.redis = redis
        self._roots = [psutil.Process(pid) for pid in pids]
        self._client = client

    async def ask(self, picture: Picture) -> bytes:
        """Have one picture drawn and fetch it."""
        png = await self.peer.ask(self._client, picture)
        if not png.startswith(b"\x89PNG"):
            raise RuntimeError(f"{self.peer.title} answered {png[:200]!r}")
        return png

    async def start(self, picture: Picture) -> None:
        """Wait for the first answer, and measure what the start took."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                await self.ask(picture)
                break
            except (httpx.HTTPError, RuntimeError, KeyError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)
        self.figures.start_s = self._processor_s()
        self.figures.start_mb = sum(p.memory_full_info().pss for p in self._tree()) / 1e6

    async def run_round(self, requests: int, backlog: int) -> None:
        """Measure requests one after the other, and then a backlog by each number of connections."""
        figures = self.figures
        before = self._processor_s()
        for number in range(requests):
            began = time.perf_counter()
            await self.ask(Picture(prompt=f"one {number}"))
            figures.latency_s.append(time.perf_counter() - began)
        figures.processor_s.append((self._processor_s() - before) / requests)
        for connections in CONNECTIONS:
            share = await self._drain(backlog, connections)
            figures.backlog.setdefault(connections, []).append(share)

    async def _drain(self, backlog: int, connections: int) -> float:
        """Have a backlog done. Return the jobs' own time as a share of the time that it took."""
        left = iter(range(backlog))

        async def drain() -> None:
            for number in left:
                await self.ask(Picture(prompt=f"many {number}"))

        began = time.perf_counter()
        await asyncio.gather(*(drain() for _ in range(connections)))
        return backlog * JOB_S / (time.perf_counter() - began)

    async def close(self) -> None:
        """Close the client."""
        await self._client.aclose()

    def _tree(self) -> list[psutil.Process]:
        return [p for root in self._roots for p in (root, *root.children(recursive=True))]

    def _processor_s(self) -> float:
        """Return the processor time of all processes, also of those that have ended."""
        seconds = 0.0
        for p in self._tree():
            with suppress(psutil.NoSuchProcess):  # it has ended since: its parent counts it
                t = p.cpu_times()
                seconds += t.user + t.system + t.children_user + t.children_system
        return seconds


@contextmanager
def running(peer: Peer, *, own_packages: bool = True) -> Iterator[Running]:
    """Run a server while the body runs, with packages of its own or with klein's."""
    with ExitStack() as stack:
        port, python = free_port(), sys.executable
        environ = engine_environment(os.environ)  # the threads that klein's engine has, for all
        environ["BENTOML_DO_NOT_TRACK"] = "True"
        pids, server = [], None
        if peer.uses_redis:
            server = stack.enter_context(running_redis())
            with server.connect() as connection:
                pids.append(connection.info()["process_id"])
            environ["REDIS_URL"] = server.url
        if not peer.requirements:
            environ |= {
                "KLEIN_DATA": stack.enter_context(tempfile.TemporaryDirectory(prefix="klein-")),
                "KLEIN_PORT": str(port),
                "KLEIN_API_KEYS": KEY,
            }
        elif own_packages:
            python = str(python_of(peer.environment))
            path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"  # cog starts `python`
            environ["PATH"] = path
        environ |= {name: str(port) if value == "PORT" else value for name, value in peer.environ}
        for command in peer.commands:
            arguments = [str(port) if part == "PORT" else part for part in command]
            started = stack.enter_context(process(arguments, python=python, **environ))
            pids.append(started.pid)
            if len(pids) == 1 + peer.uses_redis:
                wait_for_port(port, started)
        client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers=HEADERS,
            timeout=120,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=max(CONNECTIONS)),
        )
        yield Running(peer, pids, client, server)


async def count_calls(server: Running, predictions: int = 30) -> tuple[float, float]:
    """Return the round trips to Redis, and the synced writes, of a prediction, to one decimal: one of the calls may be another's.

    What klein sends anyway is subtracted.
    """
    if server.redis is None:
        raise ValueError(f"{server.peer.title} has no Redis")
    with server.redis.connect() as connection:
        began = time.monotonic()
        with counting(connection) as busy:
            for number in range(predictions):
                await server.ask(Picture(prompt=f"counted {number}"))
        took_s = time.monotonic() - began
        with counting(connection) as idle:
            await asyncio.sleep(took_s)
    trips, writes = len(busy.calls) - len(idle.calls), busy.writes - idle.writes
    return round(trips / predictions, 1), round(writes / predictions, 1)
