"""Measures the throughput of the engine at batch sizes 1, 2 and 4.

`make bench-engine` runs it and writes its table into docs/performance.md.
"""

import os
import statistics
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.report import write_section
from worker.engines import Engine, Order, open_engine

REPORT = Path("docs/performance.md")
BUILT_IN = Path("worker/weights/builtin")
SIDE = 128
STEPS = 4
BATCHES = (1, 2, 4)
IMAGES = 8
ROUNDS = 31
ORDER = Order(
    prompt="a red circle on a blue background",
    width=SIDE,
    height=SIDE,
    steps=STEPS,
    guidance=1.0,
    seeds=(0,),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The time that the images of one round took."""

    wall_s: float
    processor_s: float  # depends less on other load


def generate(engine: Engine, batch: int) -> Round:
    """Generate IMAGES images in batches of one size."""
    orders = [replace(ORDER, seeds=(seed,)) for seed in range(IMAGES)]
    started, spent = time.perf_counter(), time.process_time()
    for first in range(0, IMAGES, batch):
        if batch == 1:
            engine.generate(orders[first], lambda _k, _n: None)
        else:
            engine.generate_batch(orders[first : first + batch], lambda _k, _n: None)
    return Round(wall_s=time.perf_counter() - started, processor_s=time.process_time() - spent)


def measure(weights: Path) -> dict[int, list[Round]]:
    """Return the rounds of each batch size, alternating."""
    engine = open_engine(weights)
    rounds: dict[int, list[Round]] = {batch: [] for batch in BATCHES}
    for batch in BATCHES:
        generate(engine, batch)
    for number in range(ROUNDS):
        for batch in BATCHES if number % 2 else reversed(BATCHES):
            rounds[batch].append(generate(engine, batch))
    return rounds


def shown(values: list[float]) -> str:
    """Format the median with the first and third quartile."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def row(batch: int, rounds: list[Round], alone: list[Round]) -> str:
    """Format one row of the table."""
    pairs = list(zip(rounds, alone, strict=True))
    cells = (
        str(batch),
        shown([IMAGES / ours.wall_s for ours in rounds]),
        shown([one.wall_s / ours.wall_s for ours, one in pairs]),
        shown([ours.processor_s / IMAGES * 1000 for ours in rounds]),
        shown([one.processor_s / ours.processor_s for ours, one in pairs]),
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and write the section."""
    torch.set_num_threads(1)  # steadier when other processes use the cores
    rounds = measure(BUILT_IN)
    rows = "\n".join(row(batch, took, rounds[1]) for batch, took in rounds.items())
    load = os.getloadavg()[0]
    write_section(
        REPORT,
        "Batches",
        f"Measured by `make bench-engine` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, load {load:.1f}, with the built-in "
        f"model at {SIDE}x{SIDE}, {STEPS} steps, one thread. Each round generates {IMAGES} images with each batch size (`KLEIN_BATCH`). There were {ROUNDS} "
        "rounds. Processor time per image depends less than images per second on other load. Figures and ratios are the median (first to "
        "third quartile). Not measured on a GPU yet.\n\n"
        "| Batch | images/s | times faster | processor ms per image | times less |\n|---|---|---|---|---|\n"
        f"{rows}",
    )
    print(rows)


if __name__ == "__main__":
    main()
