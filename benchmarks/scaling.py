"""Measures how throughput grows with the number of workers, and the CPU time of Redis and the API.

`make bench-scaling` runs it and writes its tables into docs/performance.md.
"""

import argparse
import asyncio
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own

from benchmarks import quick_engine
from benchmarks.client import Connection
from benchmarks.fixed_engine import STEP_S
from benchmarks.processes import KEY, free_port, process, wait_for_port
from benchmarks.report import write_section
from benchmarks.serving import PROMPT, SLUG
from tests.support.processes import Process
from tests.support.redis_server import running_redis

REPORT = Path("docs/performance.md")
WORKERS = (1, 2, 4, 8)
STEPS = 8
ROUNDS = 20  # images per worker
SIDE = 64
FULL = 0.7  # of a core; above it, requests to a process begin to queue
START_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The measurements with one number of workers."""

    workers: int
    per_second: float
    cpu_s: dict[str, float]
    """CPU time by process, per image."""
    share: dict[str, float]
    """CPU time by process, as a share of one core over the run."""


class System:
    """Redis, one API process, a courier, and a growing number of workers."""

    def __init__(self, stack: ExitStack, engine: str) -> None:
        self._stack = stack
        self._engine = engine
        server = stack.enter_context(running_redis())
        data = stack.enter_context(tempfile.TemporaryDirectory(prefix="klein-"))
        self.port = free_port()
        self._environ = {
            "KLEIN_DATA": data,
            "KLEIN_PORT": str(self.port),
            "KLEIN_API_KEYS": KEY,
            "REDIS_URL": server.url,
        }
        with server.connect() as connection:
            redis_pid: int = connection.info()["process_id"]
        api = self._run(["-m", "app.cli", "api"])
        wait_for_port(self.port, api)
        courier = self._run(["-m", "app.cli", "courier"])
        self._parts = {"Redis": [redis_pid], "API": [api.pid], "courier": [courier.pid]}
        self._parts["workers"] = []

    async def add_workers(self, count: int, connection: Connection) -> None:
        """Start workers until there are `count`, and wait until all are ready."""
        workers = self._parts["workers"]
        while len(workers) < count:
            workers.append(self._run(["-m", "benchmarks.fixed_worker", self._engine]).pid)
        deadline = time.monotonic() + START_S
        while len((await connection.ask("GET", "/v1/status", KEY))["workers"]) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {count} workers after {START_S:.0f} s")
            await asyncio.sleep(0.2)

    def cpu_s(self) -> dict[str, float]:
        """Return the CPU time of each process with its children."""
        return {name: sum(map(_cpu_s, pids)) for name, pids in self._parts.items()}

    def _run(self, arguments: list[str]) -> Process:
        return self._stack.enter_context(process(arguments, **self._environ))


@contextmanager
def running_system(engine: str) -> Iterator[System]:
    """Run the system while the body runs, with workers around an engine module."""
    with ExitStack() as stack:
        yield System(stack, engine)


async def measure(system: System, count: int, steps: int, rounds: int) -> Row:
    """Keep `count` workers busy for some rounds, with as many predictions waiting as running."""
    first = await Connection.open(system.port)
    await system.add_workers(count, first)
    connections = [first, *[await Connection.open(system.port) for _ in range(2 * count - 1)]]
    inputs = {
        "prompt": PROMPT,
        "image_size": {"width": SIDE, "height": SIDE},
        "num_inference_steps": steps,
    }
    last = count * (
        rounds + 1
    )  # the first round is not counted, because it starts with idle workers
    ends: list[tuple[float, dict[str, float]]] = []

    async def run_predictions(connection: Connection) -> None:
        while len(ends) < last:
            body = {"model": SLUG, "input": inputs}
            created = await connection.ask("POST", "/v1/prediction", KEY, body)
            path = f"/v1/prediction/{created['predictionID']}?wait=60"
            ended = await connection.ask("GET", path, KEY)
            if ended["status"] != "success":
                raise RuntimeError(str(ended))
            await connection.download(ended["output"])
            is_edge = len(ends) in {count - 1, last - 1}
            ends.append((time.perf_counter(), system.cpu_s() if is_edge else {}))
        connection.close()

    await asyncio.gather(*map(run_predictions, connections))
    (began, before), (ended, after) = ends[count - 1], ends[last - 1]
    images, seconds = last - count, ended - began
    used = {name: after[name] - before[name] for name in after}
    return Row(
        workers=count,
        per_second=images / seconds,
        cpu_s={name: spent / images for name, spent in used.items()},
        share={name: spent / seconds for name, spent in used.items()},
    )


def measure_quick(workers: int, rounds: int) -> float:
    """Return the throughput of workers with images of 0.2 s, as a share of engine time. `make bench-peers` runs it."""
    with running_system("benchmarks.quick_engine") as system:
        row = asyncio.run(measure(system, workers, quick_engine.STEPS, rounds))
    return row.per_second * quick_engine.IMAGE_S / workers


def _cpu_s(pid: int) -> float:
    root = psutil.Process(pid)
    times = [p.cpu_times() for p in (root, *root.children(recursive=True))]
    return float(sum(t.user + t.system for t in times))


def scaling_table(rows: list[Row], image_s: float) -> str:
    """Format the throughput of each number of workers, and its share of linear growth."""
    one = rows[0].per_second / rows[0].workers
    lines = [
        f"| {row.workers} | {row.per_second:.3f} | {row.per_second / (one * row.workers):.3f} "
        f"| {row.per_second * image_s / row.workers:.3f} |"
        for row in rows
    ]
    head = "| Workers | images/s | of linear (target 0.95) | of engine time |\n|---|---|---|---|\n"
    return head + "\n".join(lines)


def feeding_table(row: Row) -> str:
    """Format the CPU time per image of Redis and the API, and how many GPUs one process can feed."""
    lines = []
    for name in ("Redis", "API"):
        ms = row.cpu_s[name] * 1000
        per_second = (
            FULL / row.cpu_s[name] if ms else math.inf
        )  # a short run may use less than the clock's 10 ms
        lines.append(
            f"| {name} | {row.share[name]:.1%} | {ms:.2f} ms | {FULL:.0%} / {ms:.2f} ms = {per_second:.0f} images/s "
            f"| {per_second:.0f} | {per_second * 2:.0f} |"
        )
    head = (
        f"| One process of | share of a core at {row.workers} workers | per image | feeds | "
        "GPUs at 1 s per image | at 2 s |\n|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(lines)


def main() -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--steps", type=int, default=STEPS, help=f"each takes {STEP_S} s")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--report", type=Path, default=REPORT)
    arguments = parser.parse_args()
    rows = []
    with running_system("benchmarks.fixed_engine") as system:
        for count in sorted(arguments.workers):
            rows.append(asyncio.run(measure(system, count, arguments.steps, arguments.rounds)))
            print(rows[-1], flush=True)
    image_s = arguments.steps * STEP_S
    both = f"{scaling_table(rows, image_s)}\n\n{feeding_table(rows[-1])}"
    write_section(
        arguments.report,
        "Several workers",
        f"Measured by `make bench-scaling` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}. The workers are the real ones, around an engine that sleeps {image_s:g} s per image and computes "
        "nothing, so that eight fit on a small machine. There are one Redis that syncs every write, one API process and one courier. Twice as "
        f"many clients as workers create, wait and download, {arguments.rounds} images per worker.\n\n"
        "Linear is the first row times the number of workers. Engine time is what engines that never waited would reach.\n\n"
        f"{both}\n\n"
        f"A process counts as full at {FULL:.0%} of a core. Each image costs one create, one long poll, the worker's "
        "claim, steps and end, and one download through the API. With presigned S3 URLs, downloads do not pass the API. Redis also waits for the "
        "disk. One sync serves all writes that wait, so a slow disk costs time, not processor.",
    )
    print(both)


if __name__ == "__main__":
    main()
