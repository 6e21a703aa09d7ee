"""Compares klein with other servers around the same job: processor time, overhead, backlog and start.

`make bench-peers` runs it in less than ten minutes and writes its table into docs/serving.md. Each of the other
servers runs in an environment of its own below `.peers`, which the first run installs from PyPI.
"""

import argparse
import asyncio
import os
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.peer_environments import install
from benchmarks.peer_runs import CONNECTIONS, PEERS, Figures, Peer, running
from benchmarks.peer_servers.job import JOB_S, SIDE
from benchmarks.report import write_section
from benchmarks.serving import machine

REPORT = Path("docs/serving.md")
ROUNDS = 3
REQUESTS = 40  # one after the other, in each round
BACKLOG = 64


async def measure(
    peers: Sequence[Peer], rounds: int, requests: int, backlog: int
) -> dict[str, Figures]:
    """Start the servers one after the other, then measure them in turns."""
    with ExitStack() as stack:
        servers = []
        for peer in peers:
            server = stack.enter_context(running(peer))
            await server.start()
            servers.append(server)
            print(f"{peer.title} has started", flush=True)
        for number in range(rounds):
            for server in servers:
                await server.run_round(requests, backlog)
            print(f"round {number + 1} of {rounds}", flush=True)
        for server in servers:
            await server.close()
    return {server.peer.title: server.figures for server in servers}


def table(figures: dict[str, Figures], versions: dict[str, str]) -> str:
    """Format the table: medians of the rounds, and the range of what depends on other load."""
    lines = [
        f"| Server | processor a request | one client's overhead | backlog of {BACKLOG} at {CONNECTIONS} connections | processor of the start | memory after it |",
        "|---|---|---|---|---|---|",
    ]
    for title, measured in figures.items():
        overhead_ms = (statistics.median(measured.latency_s) - JOB_S) * 1000
        lines.append(
            f"| {versions[title]} | {_spread([s * 1000 for s in measured.processor_s], '.1f')} ms "
            f"| {overhead_ms:.1f} ms | {_spread(measured.backlog, '.2f')} "
            f"| {measured.start_s:.1f} s | {measured.start_mb:.0f} MB |"
        )
    return "\n".join(lines)


def _spread(values: list[float], shape: str) -> str:
    return f"{statistics.median(values):{shape}} ({min(values):{shape}} to {max(values):{shape}})"


def describe(figures: dict[str, Figures], load: float) -> str:
    """Return the section of the report."""
    versions = {peer.title: peer.versions for peer in PEERS}
    return (
        f"Measured by `make bench-peers` on {datetime.now(UTC):%Y-%m-%d}: {machine()}, load {load:.1f} at the start. Each server does "
        f"the same job, one at a time: it waits {JOB_S * 1000:.0f} ms without the processor, and encodes a PNG of {SIDE}x{SIDE}. The servers took turns for "
        f"{ROUNDS} rounds. Figures are medians, and the smallest and largest round. The load generator shared the machine.\n\n"
        "A request is everything until the client has the image: for klein a create, a long poll and a download, or a `run` and a download. cog "
        "runs without its container, and keeps no queue: its clients ask again every 10 ms. Processor time is that of all processes of a server, "
        "with Redis where it has one. Overhead is the median time of a request without the job. The backlog is compared with the jobs' own time. "
        "klein runs its API, one worker, the courier and a Valkey that syncs every write. RQ and Celery use the same Valkey, and workers that do not fork.\n\n"
        f"{table(figures, versions)}\n\n"
        "For its time klein keeps what it accepts through the death of a worker, of the API and of Redis ([reliability](reliability.md))."
    )


def main() -> None:
    """Measure, and write the section, or print it with `--short`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="measure a few requests and print")
    parser.add_argument("--only", nargs="+", default=[peer.title for peer in PEERS])
    arguments = parser.parse_args()
    peers = [peer for peer in PEERS if peer.title in arguments.only]
    for peer in peers:
        if peer.requirements:
            install(peer.environment, peer.requirements)
    load = os.getloadavg()[0]
    rounds, requests, backlog = (1, 3, 8) if arguments.short else (ROUNDS, REQUESTS, BACKLOG)
    figures = asyncio.run(measure(peers, rounds, requests, backlog))
    text = describe(figures, load)
    print(text)
    if not arguments.short:
        write_section(REPORT, "Beside other servers", text)


if __name__ == "__main__":
    main()
