"""What a running klein uses: memory and threads of its processes, and memory of its Redis."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import psutil  # type: ignore[import-untyped]  # its stubs are a separate package

SAMPLE_S = 0.05


class HasParts(Protocol):
    """A running klein."""

    def part(self, name: str) -> psutil.Process | None:
        """Return the process of a part."""


def process_of(klein: HasParts, part: str = "api") -> psutil.Process:
    """Return the process of a part of klein."""
    process = klein.part(part)
    assert process is not None, f"{part} does not run"
    return process


def rss_bytes(klein: HasParts, part: str = "api") -> int:
    """Return the resident memory of a part."""
    return int(process_of(klein, part).memory_info().rss)


def thread_count(klein: HasParts, part: str = "api") -> int:
    """Count the threads of a part."""
    return int(process_of(klein, part).num_threads())


@dataclass
class Peak:
    """The highest values since a point in time, and those at its start."""

    start_rss_bytes: int
    rss_bytes: int = 0
    threads: int = 0

    @property
    def growth_bytes(self) -> int:
        """The most resident memory above that at the start."""
        return self.rss_bytes - self.start_rss_bytes


@contextmanager
def watched(klein: HasParts, part: str = "api") -> Iterator[Peak]:
    """Measure the peak of a part's memory and threads while the body runs."""
    process = process_of(klein, part)
    peak = Peak(start_rss_bytes=int(process.memory_info().rss))
    stopping = threading.Event()

    def measure() -> None:
        while True:
            try:
                peak.rss_bytes = max(peak.rss_bytes, int(process.memory_info().rss))
                peak.threads = max(peak.threads, int(process.num_threads()))
            except psutil.NoSuchProcess:  # it was killed and has a successor, which is not measured
                return
            if stopping.wait(SAMPLE_S):
                return

    thread = threading.Thread(target=measure, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stopping.set()
        thread.join()
