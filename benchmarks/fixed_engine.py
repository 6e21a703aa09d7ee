"""An engine that computes nothing: each step takes a fixed time, whatever the load."""

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.support.fake_engine_process import FakeEngine
from worker.engine_process.main import main
from worker.engines import OnPreview, OnStatus, OnStep, Order, Result, Tuning

STEP_S = 0.25


class FixedEngine:
    """Sleeps for each step and returns black images."""

    checkpoint = replace(
        FakeEngine.checkpoint,
        name="fixed",
        description="no model: every step takes a fixed time",
    )

    def __init__(self, step_s: float) -> None:
        self._step_s = step_s

    def warm_up(self) -> None:
        """Do nothing."""

    def generate(
        self, order: Order, on_step: OnStep, on_preview: OnPreview | None = None
    ) -> Result:
        """Sleep for as long as a GPU would need. A late step does not delay the next ones."""
        del on_preview
        started = time.perf_counter()
        steps = order.steps * len(order.seeds)
        for k in range(1, steps + 1):
            time.sleep(max(0.0, started + k * self._step_s - time.perf_counter()))
            on_step(k, steps)
        image = np.zeros((order.height or 64, order.width or 64, 3), np.uint8)
        return Result(
            images=(image,) * len(order.seeds),
            notes=(),
            generate_s=time.perf_counter() - started,
        )

    def generate_batch(
        self,
        orders: Sequence[Order],
        on_step: OnStep,
        on_previews: Sequence[OnPreview | None] = (),
    ) -> tuple[Result | None, ...]:
        """Decline the batch, so that each prediction runs alone."""
        del on_step, on_previews
        return (None,) * len(orders)


def serve_fixed(step_s: float) -> int:
    """Run the engine process with steps of this many seconds. There are no weights to read. Returns the exit code."""

    def open_fixed(
        _weights: Path, _loras: Path | None, _tuning: Tuning, _on_status: OnStatus
    ) -> FixedEngine:
        return FixedEngine(step_s)

    return main(open_fixed)


if __name__ == "__main__":
    sys.exit(serve_fixed(STEP_S))
