"""Formats what `benchmarks.peers` measured. Measures nothing."""

import statistics
from datetime import UTC, datetime

from benchmarks.peer_goals import Measured, goals
from benchmarks.peer_list import PEERS
from benchmarks.peer_pictures import BARE, SIZES, Drawn
from benchmarks.peer_runs import CONNECTIONS, Figures
from benchmarks.peer_servers.job import JOB_S, SIDE
from benchmarks.serving import machine

ABOUT_PICTURES = (
    "One client, with the built-in model. Each server drew the same pictures in turns with a script that calls the same pipeline in a loop, and all pictures "
    "were equal to the pixel. Each round had a prompt that no server had seen. The others call diffusers' pipeline and Pillow's "
    "PNG writer. A request is everything until the client has the image: for klein a create, a long poll and a download, or a `run` and a download. Times are "
    "medians (first to third quartile) of what a server took more than the script in the same round, and of the ratios. The start is until the first picture: the processor time of "
    "all processes, and their proportional share of memory. klein is `klein up`."
)
ABOUT_JOBS = (
    f"A job of {JOB_S * 1000:.0f} ms without the processor, one at a time, and a PNG of {SIDE}x{SIDE}. Each round had "
    "requests one after the other, and a backlog by each number of connections. Figures are the median of the rounds (smallest to largest). Processor time is that of "
    "all processes of a server, with Redis where it has one. Overhead is the median time of a request without the job. The backlog is "
    "compared with the jobs' own time. cog runs without its container, and keeps no queue: its clients ask again every 10 ms. RQ and Celery use klein's Valkey, "
    "and workers that do not fork. For its time klein keeps what it accepts through the death of a worker, of the API and of Redis "
    "([reliability](reliability.md))."
)


def describe(measured: Measured, load: float) -> str:
    """Return the section of the report."""
    pins = dict.fromkeys(pin for peer in PEERS for pin in peer.requirements)  # each once
    versions = ", ".join(pin.replace("==", " ") for pin in pins)
    about = (
        f"Measured by `make bench-peers` on {datetime.now(UTC):%Y-%m-%d}: {machine()}, load {load:.1f} at the start. {versions}. The servers "
        "took turns. The load generator shared the machine. klein's Valkey syncs every write."
    )
    parts = [
        about,
        "| Measure | goal | klein | reached | others in this run |\n|---|---|---|---|---|\n"
        + "\n".join(goal.row for goal in goals(measured)),
    ]
    if measured.drawn is not None:
        parts += [ABOUT_PICTURES, pictures_table(measured.drawn)]
    if measured.jobs:
        parts += [ABOUT_JOBS, jobs_table(measured.jobs)]
    return "\n\n".join(parts)


def pictures_table(drawn: Drawn) -> str:
    """Format what each server took more than the script, and what its start took."""
    small, default = (f"{width}x{height}" for width, height in SIZES)
    bare = " and ".join(
        f"{statistics.median(drawn.times_s[size][BARE]) * 1000:.0f} ms" for size in SIZES
    )
    lines = [
        f"| Server | {small}, over the script | of the script | {default}, over the script | of the script | start: processor | memory |",
        "|---|---|---|---|---|---|---|",
        f"| script: {bare} | 0 ms | 1 | 0 ms | 1 | | |",
    ]
    for title, start in drawn.starts.items():
        times = " | ".join(
            f"{_quartiles(drawn.quartiles_over_bare_ms(size, title))} ms | {drawn.of_bare(size, title):.2f}"
            for size in SIZES
        )
        lines.append(f"| {title} | {times} | {start.start_s:.1f} s | {start.start_mb:.0f} MB |")
    return "\n".join(lines)


def jobs_table(jobs: dict[str, Figures]) -> str:
    """Format the medians of the rounds, and the range of what depends on other load."""
    backlogs = " | ".join(f"backlog at {n} connections" for n in CONNECTIONS)
    lines = [
        f"| Server | processor a request | one client's overhead | {backlogs} | start: processor | memory |",
        "|---|---|---|" + "---|" * len(CONNECTIONS) + "---|---|",
    ]
    for title, figures in jobs.items():
        overhead_ms = (statistics.median(figures.latency_s) - JOB_S) * 1000
        shares = " | ".join(_spread(figures.backlog[n], ".2f") for n in CONNECTIONS)
        lines.append(
            f"| {title} | {_spread([s * 1000 for s in figures.processor_s], '.1f')} ms | {overhead_ms:.1f} ms | {shares} "
            f"| {figures.start_s:.1f} s | {figures.start_mb:.0f} MB |"
        )
    return "\n".join(lines)


def _quartiles(values: list[float]) -> str:
    low, median, high = values
    return f"{median:.1f} ({low:.0f} to {high:.0f})"


def _spread(values: list[float], shape: str) -> str:
    return f"{statistics.median(values):{shape}} ({min(values):{shape}} to {max(values):{shape}})"
