"""Measures what drawing several predictions at once brings: pictures per second of the engine at batch 1, 2 and 4.

`make bench-engine` runs it and puts its table into docs/performance.md.
"""

import os
import statistics
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from deploy.bench.report import write_section
from worker.engines import Engine, Order, open_engine

REPORT = Path("docs/performance.md")
BUILT_IN = Path("worker/weights/builtin")
SIDE = 128
STEPS = 4
BATCHES = (1, 2, 4)
PICTURES = 8
ROUNDS = 15
ORDER = Order(
    prompt="a red circle on a blue background",
    width=SIDE,
    height=SIDE,
    steps=STEPS,
    guidance=1.0,
    seeds=(0,),
)


def draw(engine: Engine, batch: int) -> float:
    """Draw PICTURES pictures, so many at once, and give the seconds."""
    orders = [replace(ORDER, seeds=(seed,)) for seed in range(PICTURES)]
    started = time.perf_counter()
    for first in range(0, PICTURES, batch):
        if batch == 1:
            engine.generate(orders[first], lambda _k, _n: None)
        else:
            engine.draw_together(orders[first : first + batch], lambda _k, _n: None)
    return time.perf_counter() - started


def measure(weights: Path) -> dict[int, list[float]]:
    """Give the seconds of each round, with the batches by turns."""
    engine = open_engine(weights)
    seconds: dict[int, list[float]] = {batch: [] for batch in BATCHES}
    for batch in BATCHES:
        draw(engine, batch)
    for number in range(ROUNDS):
        for batch in BATCHES if number % 2 else reversed(BATCHES):
            seconds[batch].append(draw(engine, batch))
    return seconds


def shown(values: list[float]) -> str:
    """Give the median, and the first and third quartile behind it."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Measure and write the section."""
    torch.set_num_threads(1)  # steadier where other processes want the cores too
    seconds = measure(BUILT_IN)
    rows = "\n".join(
        f"| {batch} | {shown([PICTURES / s for s in took])} "
        f"| {shown([alone / s for alone, s in zip(seconds[1], took, strict=True)])} |"
        for batch, took in seconds.items()
    )
    load = os.getloadavg()[0]
    write_section(
        REPORT,
        "Several at once",
        f"Written by `make bench-engine` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, load {load:.1f}: the built-in "
        f"model, {SIDE}x{SIDE}, {STEPS} steps, one thread, {PICTURES} pictures with so many at once (`KLEIN_BATCH`), by turns, {ROUNDS} "
        "rounds. Pictures per second and the rounds' ratios: median (first to third quartile). On a GPU: not measured.\n\n"
        f"| at once | pictures/s | times faster |\n|---|---|---|\n{rows}",
    )
    print(rows)


if __name__ == "__main__":
    main()
