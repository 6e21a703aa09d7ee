"""Measures what the whole system draws under a backlog, beside the bare engine loop of the same run.

`make bench-engine` runs it and puts its table into docs/performance.md.
"""

import asyncio
import os
import statistics
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from deploy.bench.bare_pipeline import SIDE
from deploy.bench.client import Connection
from deploy.bench.processes import KEY, listening
from deploy.bench.report import write_section
from deploy.bench.serving import SLUG, bare_loop

REPORT = Path("docs/performance.md")
BUILT_IN = Path("worker/weights/builtin")
WAITING = 60
ROUNDS = 7


def prompts(round_number: int) -> list[str]:
    """Give prompts that neither side has seen, the same for both."""
    return [f"a red circle on a blue background {round_number} {k}" for k in range(WAITING)]


async def serve(connection: Connection, asked: list[str]) -> float:
    """Create them all at once and wait for every end; give the seconds."""
    started = time.perf_counter()
    ids = []
    for prompt in asked:
        given = {"prompt": prompt, "image_size": {"width": SIDE, "height": SIDE}, "seed": 7}
        body = {"model": SLUG, "input": given}
        ids.append((await connection.ask("POST", "/v1/prediction", KEY, body))["predictionID"])
    for prediction_id in ids:
        ended = await connection.ask("GET", f"/v1/prediction/{prediction_id}?wait=60", KEY)
        if ended["status"] != "success":
            raise RuntimeError(str(ended))
    return time.perf_counter() - started


async def by_turns(port: int, loop: Callable[[list[str]], float]) -> list[tuple[float, float]]:
    """Give the seconds of each round: the bare loop's and ours."""
    connection = await Connection.open(port)
    await serve(connection, prompts(-1)[:1])  # also waits for the worker
    rounds = []
    for number in range(ROUNDS):
        asked = prompts(number)
        if number % 2:
            bare = loop(asked)
            rounds.append((bare, await serve(connection, asked)))
        else:
            served = await serve(connection, asked)
            rounds.append((loop(asked), served))
    connection.close()
    return rounds


def measure_backlog(weights: str) -> list[str]:
    """Give the rows: pictures per second of both, and the median of the rounds' ratios."""
    with bare_loop(weights) as loop, listening("up", KLEIN_WEIGHTS=weights) as (port, _):
        rounds = asyncio.run(by_turns(port, loop))
    bare, served = zip(*rounds, strict=True)
    ratios = shown([b / s for b, s in rounds])
    return [
        f"| bare engine loop | {shown(per_second(bare))} | baseline |",
        f"| through HTTP | {shown(per_second(served))} | {ratios} of the bare loop (target 0.9) |",
    ]


def per_second(rounds: Iterable[float]) -> list[float]:
    """Give the pictures per second of each round."""
    return [WAITING / seconds for seconds in rounds]


def shown(values: list[float]) -> str:
    """Give the median, and the first and third quartile behind it."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Measure and write the section."""
    rows = "\n".join(measure_backlog(str(BUILT_IN)))
    load = os.getloadavg()[0]
    write_section(
        REPORT,
        "Under a backlog",
        f"Written by `make bench-engine` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, load {load:.1f}: "
        f"{WAITING} predictions of {SIDE}x{SIDE}, 4 steps, wait at once, each with its own prompt, as PNG; `klein up` "
        f"and an engine without HTTP, queue or storage take turns, {ROUNDS} rounds. Pictures per second and ratio: median "
        "(first to third quartile).\n\n"
        f"| what | pictures/s | ratio |\n|---|---|---|\n{rows}\n",
    )
    print(rows)


if __name__ == "__main__":
    main()
