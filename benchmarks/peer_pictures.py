"""Has servers draw the same pictures with the built-in model, in turns with a script that has no server."""

import io
import json
import os
import statistics
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field

import numpy as np
from PIL import Image

from benchmarks.peer_clients import Picture
from benchmarks.peer_environments import python_of
from benchmarks.peer_list import FASTAPI, Peer
from benchmarks.peer_runs import Figures, Running, running
from benchmarks.peer_servers.job import PICTURES
from tests.support import processes
from worker.engine_client.environment import engine_environment

SMALL = (128, 128)
DEFAULT = (1024, 768)
SIZES = (SMALL, DEFAULT)  # px
MORE_SMALL = 3
"""Times as many small pictures: what servers differ by is small beside what one picture differs from the next."""
BARE = "bare pipeline"
Draw = Callable[[Picture], tuple[float, bytes]]


@dataclass(slots=True, kw_only=True)
class Drawn:
    """What was measured of the servers that drew."""

    starts: dict[str, Figures] = field(default_factory=dict)
    times_s: dict[tuple[int, int], dict[str, list[float]]] = field(default_factory=dict)
    """By size and title, in the order of the rounds. `BARE` is the script."""

    def over_bare_ms(self, size: tuple[int, int], title: str) -> float:
        """Return the median of how much longer than the script a server took in the same round."""
        return self.quartiles_over_bare_ms(size, title)[1]

    def quartiles_over_bare_ms(self, size: tuple[int, int], title: str) -> list[float]:
        """Return the quartiles of how much longer than the script a server took in the same round."""
        over = [(s - b) * 1000 for s, b in self._pairs(size, title)]
        return statistics.quantiles(over, n=4, method="inclusive")

    def of_bare(self, size: tuple[int, int], title: str) -> float:
        """Return the median of the ratios to the script's time in the same round."""
        return self.of(size, title, BARE)

    def of(self, size: tuple[int, int], title: str, baseline: str) -> float:
        """Return the median of the ratios of two servers' times in the same round."""
        return statistics.median(s / b for s, b in self._pairs(size, title, baseline))

    def _pairs(
        self, size: tuple[int, int], title: str, baseline: str = BARE
    ) -> Iterator[tuple[float, float]]:
        return zip(self.times_s[size][title], self.times_s[size][baseline], strict=True)


@contextmanager
def bare_pipeline(*, own_packages: bool) -> Iterator[Draw]:
    """Run the script, with FastAPI's packages or with klein's. Yield a function that returns the seconds and the PNG."""
    python = python_of(FASTAPI.environment) if own_packages else sys.executable
    with processes.started(
        [python, "-m", "benchmarks.peer_servers.bare"],
        env=engine_environment(os.environ) | {"PEER_JOB": PICTURES},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as script:
        assert script.stdin is not None  # noqa: S101 -- PIPE above
        assert script.stdout is not None  # noqa: S101
        orders, answers = script.stdin, script.stdout

        def draw(picture: Picture) -> tuple[float, bytes]:
            orders.write(json.dumps(list(asdict(picture).values())) + "\n")
            orders.flush()
            seconds, png = answers.readline().split()
            return float(seconds), b64decode(png)

        yield draw


async def measure_drawing(
    peers: Sequence[Peer], rounds: int, say: Callable[[str], None], *, own_packages: bool
) -> Drawn:
    """Start the servers one after the other, then have each draw the same picture in each round, of the default size `rounds` times."""
    drawn = Drawn()
    with ExitStack() as stack:
        servers = []
        for peer in peers:
            server = stack.enter_context(running(peer.drawing, own_packages=own_packages))
            await server.start(_picture(SMALL, "first"))
            servers.append(server)
            drawn.starts[peer.title] = server.figures
            say(f"{peer.title} has drawn its first picture")
        draw = stack.enter_context(bare_pipeline(own_packages=own_packages))
        for size in SIZES:
            await _draw_round(
                servers, draw, _picture(size, "uncounted")
            )  # loads what this size needs
            count = rounds * MORE_SMALL if size == SMALL else rounds
            rows = [
                await _draw_round(_rotated(servers, number), draw, _picture(size, str(number)))
                for number in range(count)
            ]
            drawn.times_s[size] = {title: [row[title] for row in rows] for title in rows[0]}
            say(f"drew {count} pictures of {size[0]}x{size[1]} with each server")
        for server in servers:
            await server.close()
    return drawn


async def _draw_round(servers: Sequence[Running], draw: Draw, picture: Picture) -> dict[str, float]:
    """Return the seconds of each server and of the script. Raises RuntimeError if a picture is not the script's."""
    bare_s, png = draw(picture)
    expected, times = _pixels(png), {BARE: bare_s}
    for server in servers:
        began = time.perf_counter()
        png = await server.ask(picture)
        times[server.peer.title] = time.perf_counter() - began
        if not np.array_equal(_pixels(png), expected):
            raise RuntimeError(f"{server.peer.title} drew another picture than the script")
    return times


def _rotated(servers: Sequence[Running], number: int) -> list[Running]:
    first = number % len(servers)
    return [*servers[first:], *servers[:first]]


def _picture(size: tuple[int, int], name: str) -> Picture:
    """Return a picture whose prompt nobody has drawn, so that no cache knows it."""
    prompt = f"a red circle on a blue background {name} {size[0]}"
    return Picture(prompt=prompt, width=size[0], height=size[1])


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
