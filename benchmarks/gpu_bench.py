"""What the steps of `benchmarks.gpu_steps` share: the scale of a run, and the timing of calls."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.full_size import SMALL, Dimensions
from worker.engines.tuning import Quantization

STEPS = 4
BATCH = 4
Values = Iterator[tuple[str, Any]]
"""Names and values, as they are measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured."""

    dimensions: Dimensions = field(default_factory=Dimensions)
    sides: tuple[int, int] = (512, 1024)
    """Pixels."""
    large_side: int = 2048
    times: int = 10
    waiting: int = 50
    quantization: Quantization = Quantization.FP8
    matrix: int = 8192
    sustained_s: float = 3.0


FULL = Scale()
REHEARSAL = Scale(
    dimensions=SMALL,
    sides=(64, 128),
    large_side=192,
    times=2,
    waiting=3,
    quantization=Quantization.INT8_WEIGHT_ONLY,
    matrix=256,
    sustained_s=0.2,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every step reads: the folder of its results, the scale and the device."""

    folder: Path
    scale: Scale
    device: torch.device

    @property
    def weights(self) -> Path:
        """Return the checkpoint, which the first step writes."""
        return self.folder / "weights"


def median_ms(call: Callable[[], object], times: int) -> dict[str, float]:
    """Time a call after one warm-up call. Return the median and the quartiles in milliseconds."""
    call()
    times_ms = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        times_ms.append((time.perf_counter() - started) * 1000)
    low, middle, high = statistics.quantiles(times_ms, n=4)
    return {"median_ms": round(middle, 2), "low_ms": round(low, 2), "high_ms": round(high, 2)}
