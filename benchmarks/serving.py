"""Measures how soon `klein up` is ready, and how many creates an API process accepts. `make bench-peers` runs it."""

import asyncio
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bare_pipeline import SIDE
from benchmarks.client import Connection
from benchmarks.processes import KEY, free_port, listening, process, wait_for_port
from tests.support import processes
from tests.support.redis_server import running_redis
from worker.engine_client.environment import engine_environment

SLUG = "flux-2-klein-4b-text-to-image"
PROMPT = "a red circle on a blue background"
CREATE_CONNECTIONS = 16
QUEUE_LIMIT = "1000000"  # nothing takes what the flood creates
READY_MARKS = {
    "api_ready": "API",
    "courier_ready": "courier",
    "engine_loading": "worker",
    "engine_ready": "engine",
    "klein is ready": "klein",
}
"""What the log says when something is ready."""


@contextmanager
def bare_loop(weights: str, side: int = SIDE) -> Iterator[Callable[[list[str]], float]]:
    """Load the engine in a child process. Yield a function that generates prompts and returns the seconds."""
    with processes.started(
        [sys.executable, "-m", "benchmarks.bare_pipeline", weights, str(side)],
        env=engine_environment(os.environ),  # the thread settings of the engine process
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdin is not None  # noqa: S101 -- PIPE above
        assert running.stdout is not None  # noqa: S101
        orders, answers = running.stdin, running.stdout
        answers.readline()

        def generate(prompts: list[str]) -> float:
            orders.writelines(f"{prompt}\n" for prompt in prompts)
            orders.flush()
            return sum(float(answers.readline()) for _ in prompts)

        try:
            yield generate
        finally:
            orders.close()
            running.wait(60)


def measure_start() -> dict[str, float]:
    """Start `klein up`, and return the seconds until each process is ready, and until klein says that it is."""
    began = time.perf_counter()
    seen: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="klein-") as data:
        environ = {"KLEIN_DATA": data, "KLEIN_PORT": str(free_port()), "KLEIN_API_KEYS": KEY}
        with processes.started(
            [sys.executable, "-m", "app.cli", "up"],
            env=os.environ | environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as tree:
            assert tree.stdout is not None  # noqa: S101 -- PIPE above
            for line in tree.stdout:
                for mark, name in READY_MARKS.items():
                    if mark in line:
                        seen[name] = time.perf_counter() - began
                if "klein" in seen:
                    break
            tree.terminate()
            tree.stdout.read()
    return seen


async def flood(port: int, path: str, body: object, seconds: float) -> float:
    """Send requests over several connections for a while. Return the requests per second."""
    connections = [await Connection.open(port) for _ in range(CREATE_CONNECTIONS)]
    ends = time.perf_counter() + seconds

    async def drive(connection: Connection) -> int:
        answers = 0
        while time.perf_counter() < ends:
            await connection.ask("POST", path, KEY, body)
            answers += 1
        connection.close()
        return answers

    started = time.perf_counter()
    answers = await asyncio.gather(*(drive(connection) for connection in connections))
    return sum(answers) / (time.perf_counter() - started)


def measure_create(rounds: int, seconds: float) -> tuple[float, float]:
    """Return the requests per second of create and of a bare route: medians of rounds in turns."""
    with (
        running_redis() as server,
        running_redis() as other,
        listening("api", REDIS_URL=server.url, KLEIN_QUEUE_LIMIT=QUEUE_LIMIT) as (port, _),
    ):
        bare_port = free_port()
        with process(
            ["-m", "benchmarks.bare_route"], KLEIN_PORT=str(bare_port), REDIS_URL=other.url
        ) as bare:
            wait_for_port(bare_port, bare)
            body = {"model": SLUG, "input": {"prompt": PROMPT}}
            created, written = [], []
            for _ in range(rounds):
                written.append(asyncio.run(flood(bare_port, "/set", {}, seconds)))
                created.append(asyncio.run(flood(port, "/v1/prediction", body, seconds)))
    return statistics.median(created), statistics.median(written)


def machine() -> str:
    """Describe this machine."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
