"""Runs klein and other servers around the same job, and measures them."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own

from benchmarks.peer_clients import (
    HEADERS,
    Ask,
    ask_cog,
    ask_directly,
    ask_gradio,
    ask_jobs,
    ask_klein,
    ask_litserve,
    run_klein,
)
from benchmarks.peer_environments import python_of
from benchmarks.peer_servers.job import JOB_S
from benchmarks.processes import KEY, free_port, process, wait_for_port
from tests.support.redis_server import running_redis

SERVERS = "benchmarks.peer_servers"
CONNECTIONS = 8  # of a backlog
START_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A server, and how it is run."""

    title: str
    requirements: tuple[str, ...]  # of its environment; none: klein
    ask: Ask
    commands: tuple[tuple[str, ...], ...]  # with PORT for the port; the first one listens
    uses_redis: bool = False
    environ: tuple[tuple[str, str], ...] = ()  # with PORT for the port

    @property
    def environment(self) -> str:
        """The name of its environment."""
        return self.title.lower().replace(" ", "-")

    @property
    def versions(self) -> str:
        """Return its packages with their versions."""
        pins = (requirement.replace("==", " ") for requirement in self.requirements)
        return ", ".join(pins) or self.title


KLEIN = Peer(
    title="klein",
    requirements=(),
    ask=ask_klein,
    commands=(
        ("-m", "app.cli", "api"),
        ("-m", "benchmarks.fixed_worker", "benchmarks.short_engine"),
        ("-m", "app.cli", "courier"),
    ),
    uses_redis=True,
)
PEERS = (
    KLEIN,
    replace(KLEIN, title="klein, run", ask=run_klein),
    Peer(
        title="cog",
        requirements=("cog==0.23.1",),
        ask=ask_cog,
        commands=(("-m", "cog.server.http", "--host", "127.0.0.1"),),
        environ=(
            ("PORT", "PORT"),
            ("COG_PREDICT_TYPE_STUB", "benchmarks/peer_servers/cog_predictor.py:Predictor"),
            ("COG_LOG_LEVEL", "warning"),
        ),
    ),
    Peer(
        title="FastAPI",
        requirements=("fastapi==0.165.0", "uvicorn==0.54.0"),
        ask=ask_directly,
        commands=(("-m", f"{SERVERS}.fastapi_alone", "PORT"),),
    ),
    Peer(
        title="LitServe",
        requirements=("litserve==0.2.19",),
        ask=ask_litserve,
        commands=(("-m", f"{SERVERS}.litserve_server", "PORT"),),
    ),
    Peer(
        title="BentoML",
        requirements=("bentoml==1.4.40",),
        ask=ask_directly,
        commands=(("-m", "bentoml", "serve", f"{SERVERS}.bentoml_service:Draw", "--port", "PORT"),),
    ),
    Peer(
        title="Gradio",
        requirements=("gradio==6.31.0",),
        ask=ask_gradio,
        commands=(("-m", f"{SERVERS}.gradio_app", "PORT"),),
    ),
    Peer(
        title="RQ and FastAPI",
        requirements=("rq==3.0.0", "fastapi==0.165.0", "uvicorn==0.54.0"),
        ask=ask_jobs,
        commands=(("-m", f"{SERVERS}.rq_fastapi", "PORT"), ("-m", f"{SERVERS}.rq_fastapi", "worker")),
        uses_redis=True,
    ),
    Peer(
        title="Celery and FastAPI",
        requirements=("celery[redis]==5.7.0", "fastapi==0.165.0", "uvicorn==0.54.0"),
        ask=ask_jobs,
        commands=(
            ("-m", f"{SERVERS}.celery_fastapi", "PORT"),
            ("-m", f"{SERVERS}.celery_fastapi", "worker"),
        ),
        uses_redis=True,
    ),
)  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Figures:
    """What was measured of a server."""

    start_s: float = 0.0  # processor, until the first answer
    start_mb: float = 0.0  # proportional share of memory, then
    processor_s: list[float] = field(default_factory=list)  # a request, by round
    latency_s: list[float] = field(default_factory=list)
    backlog: list[float] = field(default_factory=list)  # of the jobs' own time, by round


class Running:
    """A running server, with a client."""

    def __init__(self, peer: Peer, pids: list[int], client: httpx.AsyncClient) -> None:
        self.peer = peer
        self.figures = Figures()
        self._roots = [psutil.Process(pid) for pid in pids]
        self._client = client

    async def ask(self, prompt: str) -> None:
        """Have one image drawn and fetch it."""
        png = await self.peer.ask(self._client, prompt)
        if not png.startswith(b"\x89PNG"):
            raise RuntimeError(f"{self.peer.title} answered {png[:200]!r}")

    async def start(self) -> None:
        """Wait for the first answer, and measure what the start took."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                await self.ask("first")
                break
            except (httpx.HTTPError, RuntimeError, KeyError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)
        self.figures.start_s = self._processor_s()
        self.figures.start_mb = sum(p.memory_full_info().pss for p in self._tree()) / 1e6

    async def run_round(self, requests: int, backlog: int) -> None:
        """Measure requests one after the other, and then a backlog."""
        figures = self.figures
        before = self._processor_s()
        for number in range(requests):
            began = time.perf_counter()
            await self.ask(f"one {number}")
            figures.latency_s.append(time.perf_counter() - began)
        figures.processor_s.append((self._processor_s() - before) / requests)
        left = iter(range(backlog))

        async def drain() -> None:
            for number in left:
                await self.ask(f"many {number}")

        began = time.perf_counter()
        await asyncio.gather(*(drain() for _ in range(CONNECTIONS)))
        figures.backlog.append(backlog * JOB_S / (time.perf_counter() - began))

    async def close(self) -> None:
        """Close the client."""
        await self._client.aclose()

    def _tree(self) -> list[psutil.Process]:
        return [p for root in self._roots for p in (root, *root.children(recursive=True))]

    def _processor_s(self) -> float:
        """Return the processor time of all processes, also of those that have ended."""
        times = [p.cpu_times() for p in self._tree()]
        return float(sum(t.user + t.system + t.children_user + t.children_system for t in times))


@contextmanager
def running(peer: Peer) -> Iterator[Running]:
    """Run a server while the body runs."""
    with ExitStack() as stack:
        port, python = free_port(), sys.executable
        environ = {"BENTOML_DO_NOT_TRACK": "True", "GRADIO_ANALYTICS_ENABLED": "False"}
        pids = []
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
        else:
            python = str(python_of(peer.environment))
            path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"  # cog starts `python`
            environ |= {"PATH": path, "PYTHONPATH": "."}
        environ |= {name: str(port) if value == "PORT" else value for name, value in peer.environ}
        for command in peer.commands:
            arguments = [str(port) if part == "PORT" else part for part in command]
            started = stack.enter_context(process(arguments, python=python, **environ))
            pids.append(started.pid)
            if len(pids) == 1 + peer.uses_redis:
                wait_for_port(port, started)
        client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=HEADERS, timeout=120, trust_env=False
        )
        yield Running(peer, pids, client)
