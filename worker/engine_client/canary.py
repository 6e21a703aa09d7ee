"""Generates a small image now and then, and compares it with the first one. An engine whose image changes is broken.

The image is the size of the one that the engine judges at start (`worker.engines.output_check`), with the same prompt
and number of steps, but it goes the whole way of a prediction, from the prompt to pixels.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from worker.engines import Cancelled, Checkpoint, ImageArray, Order, Result
from worker.engines.warm_up_images import PROMPT

ORDER = Order(prompt=PROMPT, width=256, height=256, steps=2, guidance=1.0, seeds=(0,))
GPU_MIN_DB = 30.0
"""Least signal-to-noise ratio of two canaries on a GPU, whose kernels may differ from process to process."""
MAX_LOAD = 0.05
"""Largest share of the time that canaries may take, if each takes long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryDifference:
    """How much a canary differs from the first one. Peak signal-to-noise ratios in dB."""

    psnr_db: float
    least_db: float  # infinite: not a single pixel may differ

    def __str__(self) -> str:
        """Say it in a sentence for the log."""
        least = (
            "no pixel may differ" if math.isinf(self.least_db) else f"at least {self.least_db:g} dB"
        )
        return (
            f"the engine no longer generates the test image that it generated at its start: {self.psnr_db:.1f} dB, "
            f"where {least}. Memory may be damaged: check the GPU (`nvidia-smi -q -d ECC`) and the memory of this machine"
        )


class Canary:
    """Keeps the first canary of a worker, and compares later ones with it."""

    def __init__(
        self, interval_s: float | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval_s = interval_s  # None means no canaries
        self._clock = clock
        self._due_s = clock() if interval_s is not None else math.inf
        self._first: tuple[Checkpoint, ImageArray] | None = None

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next one."""
        return self._clock() >= self._due_s

    def check(
        self, generate: Callable[[Order], Result], checkpoint: Checkpoint
    ) -> CanaryDifference | None:
        """Generate a canary and return how it differs from the first one, if by more than it may.

        The first canary of a revision and a device only is kept. Raises what `generate` raises.
        """
        due_s, started_s = self._due_s, self._clock()
        self._due_s = started_s + (self._interval_s or math.inf)
        try:
            image = generate(ORDER).images[0]
        except Cancelled:
            self._due_s = due_s  # again as soon as the work is done
            raise
        took_s = self._clock() - started_s
        self._due_s = max(self._due_s, self._clock() + took_s / MAX_LOAD)
        if self._first is None or _source(self._first[0]) != _source(checkpoint):
            self._first = checkpoint, image.copy()
            return None
        return compare(self._first[1], image, least_db(checkpoint))


def least_db(checkpoint: Checkpoint) -> float:
    """Return the least signal-to-noise ratio of two canaries: a CPU repeats every bit."""
    return math.inf if checkpoint.device.startswith("cpu") else GPU_MIN_DB


def compare(first: ImageArray, image: ImageArray, least_db: float) -> CanaryDifference | None:
    """Compare an image with the first one. None means it differs by no more than it may."""
    if first.shape != image.shape:
        return CanaryDifference(psnr_db=0.0, least_db=least_db)
    noise = float(np.mean((first.astype(np.float64) - image) ** 2))
    psnr_db = 10 * math.log10(255**2 / noise) if noise else math.inf
    return None if psnr_db >= least_db else CanaryDifference(psnr_db=psnr_db, least_db=least_db)


def _source(checkpoint: Checkpoint) -> tuple[str, str]:
    return checkpoint.revision, checkpoint.device
