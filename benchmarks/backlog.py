"""Compares the throughput of the whole system under a backlog with a bare engine loop.

`make bench-engine` runs it on the built-in model and writes its table into docs/performance.md. On a GPU, where it also
measures the utilisation,

    python -m benchmarks.backlog --weights DIR --side 1024 --waiting 50 --rounds 3

prints the rows for other weights.
"""

import argparse
import asyncio
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import pynvml

from benchmarks.bare_pipeline import SIDE
from benchmarks.client import Connection
from benchmarks.processes import KEY, listening
from benchmarks.report import write_section
from benchmarks.serving import SLUG, bare_loop

REPORT = Path("docs/performance.md")
BUILT_IN = Path("worker/weights/builtin")
SAMPLES_EVERY_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """The number of predictions in the backlog, and how to measure them."""

    weights: Path = BUILT_IN
    side: int = SIDE
    waiting: int = 60
    rounds: int = 7
    batch: int = 1
    """KLEIN_BATCH."""

    def prompts(self, number: int) -> list[str]:
        """Return new prompts, the same for both sides."""
        return [f"a red circle on a blue background {number} {k}" for k in range(self.waiting)]

    async def serve(self, connection: Connection, prompts: list[str]) -> float:
        """Create all predictions at once and wait until all end. Return the seconds."""
        started = time.perf_counter()
        ids = []
        size = {"width": self.side, "height": self.side}
        for prompt in prompts:
            body = {"model": SLUG, "input": {"prompt": prompt, "image_size": size, "seed": 7}}
            created = await connection.ask("POST", "/v1/prediction", KEY, body)
            ids.append(created["predictionID"])
        for prediction_id in ids:
            await connection.wait_for_success(prediction_id, KEY)
        return time.perf_counter() - started

    async def serve_sampled(
        self, connection: Connection, prompts: list[str], busy: list[int]
    ) -> float:
        """Serve the prompts while sampling the GPU utilisation."""
        with sampled_busy(busy):
            return await self.serve(connection, prompts)

    async def alternate(
        self, port: int, loop: Callable[[list[str]], float] | None, busy: list[int]
    ) -> list[tuple[float, float]]:
        """Return the seconds of each round, bare loop and ours. Sample the GPU utilisation in ours.

        Without a loop, its seconds are 0.
        """
        connection = await Connection.open(port)
        await self.serve(connection, self.prompts(-1)[:1])  # also waits for the worker
        rounds = []
        for number in range(self.rounds):
            prompts = self.prompts(number)
            if loop is None:
                rounds.append((0.0, await self.serve_sampled(connection, prompts, busy)))
            elif number % 2:
                bare = loop(prompts)
                rounds.append((bare, await self.serve_sampled(connection, prompts, busy)))
            else:
                served = await self.serve_sampled(connection, prompts, busy)
                rounds.append((loop(prompts), served))
        connection.close()
        return rounds

    def measure_served(self) -> tuple[list[float], list[int]]:
        """Return the seconds of each round through HTTP, and samples of the GPU utilisation in %."""
        busy: list[int] = []
        with self._system() as port:
            rounds = asyncio.run(self.alternate(port, None, busy))
        return [served for _, served in rounds], busy

    def rows(self) -> list[str]:
        """Return the table rows: images per second of both, and the median of the ratios.

        Both run at once and alternate, so that other load slows both. On a GPU, which holds one engine, the bare
        loop runs before.
        """
        weights = str(self.weights)
        if has_gpu():
            with bare_loop(weights, self.side) as loop:
                loop(self.prompts(-1)[:1])
                before = [loop(self.prompts(number)) for number in range(self.rounds)]
            after, busy = self.measure_served()
            rounds = list(zip(before, after, strict=True))
        else:
            busy = []
            with bare_loop(weights, self.side) as loop, self._system() as port:
                rounds = asyncio.run(self.alternate(port, loop, busy))
        bare, served = (
            [self.waiting / seconds for seconds in side] for side in zip(*rounds, strict=True)
        )
        ratios = shown([b / s for b, s in rounds])
        rows = [
            f"| bare engine loop | {shown(bare)} | baseline |",
            f"| through HTTP | {shown(served)} | {ratios} of the bare loop (target 0.9) |",
        ]
        if busy:
            rows.append(f"| GPU busy meanwhile | {statistics.mean(busy):.1f} % | target 97 % |")
        return rows

    @contextmanager
    def _system(self) -> Iterator[int]:
        """Run `klein up` and yield its port."""
        with listening("up", KLEIN_WEIGHTS=str(self.weights), KLEIN_BATCH=str(self.batch)) as (
            port,
            _,
        ):
            yield port


def has_gpu() -> bool:
    """Return whether NVIDIA's driver finds a GPU."""
    try:
        pynvml.nvmlInit()
        return bool(pynvml.nvmlDeviceGetCount())
    except pynvml.NVMLError:
        return False


@contextmanager
def sampled_busy(into: list[int]) -> Iterator[None]:
    """Sample the utilisation (%) of the first GPU, if there is one, while the body runs."""
    if not has_gpu():
        yield
        return
    device, over = pynvml.nvmlDeviceGetHandleByIndex(0), Event()

    def sample() -> None:
        while not over.wait(SAMPLES_EVERY_S):
            into.append(pynvml.nvmlDeviceGetUtilizationRates(device).gpu)

    sampling = Thread(target=sample)
    sampling.start()
    try:
        yield
    finally:
        over.set()
        sampling.join()


def shown(values: list[float]) -> str:
    """Format the median with the first and third quartile."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Measure and print the rows. Write the section only for the default settings."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Backlog()
    parser.add_argument("--weights", type=Path, default=default.weights)
    parser.add_argument("--side", type=int, default=default.side)
    parser.add_argument("--waiting", type=int, default=default.waiting)
    parser.add_argument("--rounds", type=int, default=default.rounds)
    parser.add_argument("--batch", type=int, default=default.batch)
    backlog = Backlog(**vars(parser.parse_args()))
    rows = "\n".join(backlog.rows())
    print(rows)
    if backlog != default:
        return
    load = os.getloadavg()[0]
    write_section(
        REPORT,
        "With a backlog",
        f"Measured by `make bench-engine` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, load {load:.1f}. "
        f"{backlog.waiting} predictions of {SIDE}x{SIDE} with 4 steps wait at once, each with its own prompt, as PNG. `klein up` "
        f"and an engine without HTTP, queue or storage alternated for {backlog.rounds} rounds. Figures are the median "
        "(first to third quartile).\n\n"
        f"| What | images/s | ratio |\n|---|---|---|\n{rows}\n",
    )


if __name__ == "__main__":
    main()
