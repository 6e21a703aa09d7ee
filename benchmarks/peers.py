"""Compares klein with other servers around the same jobs, and with its goals.

`make bench-peers` runs it in about twelve minutes and writes its tables into docs/performance.md. Each of the other
servers runs in an environment of its own, which the first run installs from PyPI into the user's cache.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peer_clients import Picture
from benchmarks.peer_environments import install
from benchmarks.peer_goals import Measured
from benchmarks.peer_list import PEERS, SHORT, Peer
from benchmarks.peer_pictures import measure_drawing
from benchmarks.peer_runs import count_calls, running
from benchmarks.peer_tables import describe
from benchmarks.report import write_section
from benchmarks.scaling import measure_quick
from benchmarks.serving import measure_create
from benchmarks.waiters import CROWD, measure_rest, measure_wakes

REPORT = Path("docs/performance.md")
TITLE = "Beside other servers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured."""

    peers: Sequence[Peer] = PEERS
    own_packages: bool = True
    rounds: int = 3
    requests: int = 30  # one after the other, in each round
    backlog: int = 64
    pictures: int = 30  # of the default size
    flood_s: float = 5.0
    waiters: int = CROWD
    rest_s: float = 20.0
    workers: int = 8
    images: int = 60  # a worker


WHOLE = Scale()
RUNS = Scale(
    peers=SHORT,
    own_packages=False,
    rounds=1,
    requests=3,
    backlog=8,
    pictures=2,
    flood_s=0.5,
    waiters=20,
    rest_s=2.0,
    workers=2,
    images=4,
)
"""To see that everything runs."""


class Comparison:
    """Measures one part after the other."""

    def __init__(self, scale: Scale) -> None:
        self.measured = Measured()
        self._scale = scale
        self._began = time.monotonic()
        self.parts: dict[str, Callable[[], None]] = {
            "jobs": lambda: asyncio.run(self._measure_jobs()),
            "pictures": lambda: asyncio.run(self._measure_drawing()),
            "creates": self._measure_creates,
            "waiters": self._measure_waiters,
            "workers": self._measure_workers,
        }

    def say(self, line: str) -> None:
        """Print progress."""
        print(f"{time.monotonic() - self._began:4.0f} s  {line}", file=sys.stderr, flush=True)

    async def _measure_jobs(self) -> None:
        """Start the servers one after the other, then measure them in turns. Count klein's calls of Redis at the end."""
        scale = self._scale
        with ExitStack() as stack:
            servers = []
            for peer in scale.peers:
                server = stack.enter_context(running(peer, own_packages=scale.own_packages))
                await server.start(Picture(prompt="first"))
                servers.append(server)
                self.say(f"{peer.title} has started")
            for number in range(scale.rounds):
                for server in servers:
                    await server.run_round(scale.requests, scale.backlog)
                self.say(f"jobs: round {number + 1} of {scale.rounds}")
            self.measured.calls = await count_calls(servers[0])
            for server in servers:
                await server.close()
        self.measured.jobs = {server.peer.title: server.figures for server in servers}

    async def _measure_drawing(self) -> None:
        scale = self._scale
        peers = [peer for peer in scale.peers if peer.draws]
        self.measured.drawn = await measure_drawing(
            peers, scale.pictures, self.say, own_packages=scale.own_packages
        )

    def _measure_creates(self) -> None:
        scale = self._scale
        self.measured.creates = measure_create(scale.rounds, scale.flood_s)

    def _measure_waiters(self) -> None:
        scale = self._scale
        for waiters, rounds in ((10, scale.rounds), (scale.waiters, 1)):
            self.measured.wakes[waiters] = measure_wakes(waiters, rounds)
        self.say("waiters: all woken")
        self.measured.rest = (scale.waiters, *measure_rest(scale.waiters, scale.rest_s))

    def _measure_workers(self) -> None:
        scale = self._scale
        self.measured.workers = (scale.workers, measure_quick(scale.workers, scale.images))


def main() -> None:
    """Measure, and write the section. A part or a short form is printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="see that every part runs")
    parser.add_argument("--parts", nargs="+", help="of jobs, pictures, creates, waiters, workers")
    arguments = parser.parse_args()
    scale = RUNS if arguments.short else WHOLE
    if scale.own_packages:
        for peer in scale.peers:
            if peer.requirements:
                install(peer.environment, peer.requirements, draws=peer.draws)
    load = os.getloadavg()[0]
    comparison = Comparison(scale)
    for name in arguments.parts or comparison.parts:
        comparison.parts[name]()
        comparison.say(f"{name}: measured")
    text = describe(comparison.measured, load)
    print(text)
    if not arguments.short and not arguments.parts:
        write_section(REPORT, TITLE, text)
        comparison.say(f"wrote {REPORT}")


if __name__ == "__main__":
    main()
