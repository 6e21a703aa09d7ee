"""Measures how long the images of an attempt take to be written as files and to be stored."""

import time
from collections.abc import Callable
from dataclasses import replace

from app.predictions.timings import Timings


class Stopwatch:
    """Runs from the moment at which the images are there. Not thread-safe."""

    def __init__(self, timings: Timings, clock: Callable[[], float] = time.perf_counter) -> None:
        self._timings = timings  # of the stages before
        self._clock = clock
        self._began_s = clock()
        self._stored_s = 0.0
        self._storing_s = 0.0  # when the body began

    def __enter__(self) -> None:
        """Count the time of the body as storing. All other time counts as writing."""
        self._storing_s = self._clock()

    def __exit__(self, *_: object) -> None:
        self._stored_s += self._clock() - self._storing_s

    def stop(self) -> Timings:
        """Return the timings of all stages."""
        written_s = self._clock() - self._began_s - self._stored_s
        return replace(
            self._timings,
            written_ms=round(written_s * 1000),
            stored_ms=round(self._stored_s * 1000),
        )
