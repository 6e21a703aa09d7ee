"""Measures the overhead of serving, each figure beside a baseline of the same run.

`make bench-serving` runs it and writes docs/serving.md.
"""

import argparse
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
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.bare_pipeline import SIDE
from benchmarks.client import Connection
from benchmarks.processes import KEY, free_port, listening, process, wait_for_port
from benchmarks.report import write_head
from benchmarks.waiters import CROWD, measure_rest, measure_wakes
from tests.support import processes
from tests.support.redis_server import running_redis
from worker.engine_client.environment import engine_environment

SLUG = "flux-2-klein-4b-text-to-image"
PROMPT = "a red circle on a blue background"
REPORT = Path("docs/serving.md")
IMAGES = 60
CREATE_S = 6.0
CREATE_CONNECTIONS = 16
QUEUE_LIMIT = "1000000"  # nothing takes what the flood creates
ROUNDS = 3


def quantile(values: list[float], q: float) -> float:
    """Return the q-quantile (0 to 1) of the values."""
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


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


async def predict_once(connection: Connection) -> float:
    """Create a prediction and long-poll until it ends. Return the seconds."""
    body = {"prompt": PROMPT, "image_size": {"width": SIDE, "height": SIDE}, "seed": 7}
    started = time.perf_counter()
    created = await connection.ask("POST", "/v1/prediction", KEY, {"model": SLUG, "input": body})
    await connection.wait_for_success(created["predictionID"], KEY)
    return time.perf_counter() - started


def measure_overhead(weights: str) -> list[str]:
    """Generate alternately through HTTP and in a script, and compare."""
    with bare_loop(weights) as generate, listening("up", KLEIN_WEIGHTS=weights) as (port, _):

        async def alternate() -> tuple[list[float], list[float]]:
            connection = await Connection.open(port)
            await predict_once(connection)  # also waits for the worker
            served, bare = [], []
            for _ in range(IMAGES):
                bare.append(generate([PROMPT]))
                served.append(await predict_once(connection))
            connection.close()
            return served, bare

        served, bare = asyncio.run(alternate())
    baseline = statistics.median(bare)
    overhead = [(s - baseline) * 1000 for s in served]
    return [
        f"| bare pipeline call, {SIDE}x{SIDE}, 4 steps | p50 {baseline * 1000:.1f} ms, p95 {quantile(bare, 0.95) * 1000:.1f} ms | baseline |",
        f"| create to long-poll response, one at a time | p50 {statistics.median(served) * 1000:.1f} ms, p95 {quantile(served, 0.95) * 1000:.1f} ms | {statistics.median(served) / baseline:.2f} x the bare call |",
        f"| overhead over the median of the bare call | p50 {statistics.median(overhead):.1f} ms, p95 {quantile(overhead, 0.95):.1f} ms | target 15 ms, 30 ms |",
    ]


def measure_start(weights: str) -> list[str]:
    """Start `klein up` and measure when each process is ready."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="klein-") as data:
        started = time.perf_counter()
        seen: dict[str, float] = {}
        marks = {
            "api_ready": "API",
            "courier_ready": "courier",
            "engine_loading": "worker",
            "engine_ready": "engine",
        }
        with processes.started(
            [sys.executable, "-m", "app.cli", "up"],
            env=os.environ
            | {
                "KLEIN_DATA": data,
                "KLEIN_PORT": str(port),
                "KLEIN_API_KEYS": KEY,
                "KLEIN_WEIGHTS": weights,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as tree:
            assert tree.stdout is not None  # noqa: S101 -- PIPE above
            for line in tree.stdout:
                for mark, name in marks.items():
                    if mark in line:
                        seen[name] = time.perf_counter() - started
                if "klein is ready" in line:
                    break
            ready = time.perf_counter() - started
            tree.terminate()
            tree.stdout.read()
    where = ", ".join(f"{name} at {at:.1f} s" for name, at in seen.items())
    return [f"| `klein up` to ready | {ready:.1f} s | {where} |"]


async def flood(port: int, path: str, body: object) -> float:
    """Send requests over several connections for a while. Return the requests per second."""
    connections = [await Connection.open(port) for _ in range(CREATE_CONNECTIONS)]
    ends = time.perf_counter() + CREATE_S

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


def measure_create() -> list[str]:
    """Compare the requests per second of create and of a bare route, alternating. Return medians."""
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
            for _ in range(ROUNDS):
                written.append(asyncio.run(flood(bare_port, "/set", {})))
                created.append(asyncio.run(flood(port, "/v1/prediction", body)))
    create, write = statistics.median(created), statistics.median(written)
    return [
        f"| bare FastAPI route, one Redis SET | {write:.0f} requests/s | baseline |",
        f"| create, one API process | {create:.0f} requests/s | {create / write:.2f} of the bare route (target 0.7) |",
    ]


def machine() -> str:
    """Describe this machine."""
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    return f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def main() -> None:
    """Measure everything and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="worker/weights/builtin")
    parser.add_argument("--only", default="start,overhead,wakes,create")
    arguments = parser.parse_args()
    weights = str(Path(arguments.weights).resolve())
    measures: dict[str, Callable[[], list[str]]] = {
        "start": lambda: measure_start(weights),
        "overhead": lambda: measure_overhead(weights),
        "wakes": lambda: [
            measure_wakes(10, rounds=10),
            measure_wakes(CROWD, rounds=1),
            measure_rest(CROWD),
        ],
        "create": measure_create,
    }
    rows: list[str] = []
    for name in arguments.only.split(","):
        print(f"measuring {name} …", flush=True)
        rows += measures[name]()
        print("\n".join(rows[-3:]), flush=True)
    write_head(
        REPORT,
        "# Serving performance\n\n"
        f"Measured by `make bench-serving` on {datetime.now(UTC):%Y-%m-%d}: {machine()}. The embedded Valkey "
        "synced every write to disk. Medians of one run. The load generator shared the machine.\n\n"
        "| What | Measured | For comparison |\n|---|---|---|\n" + "\n".join(rows),
    )
    print(f"wrote {REPORT}")


if __name__ == "__main__":
    main()
