"""An engine that computes nothing: every step takes the same time, whatever else the machine does."""

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
    """Sleeps through its steps and gives black pictures."""

    checkpoint = replace(
        FakeEngine.checkpoint,
        name="fixed",
        description="no model: every step takes a quarter of a second",
    )

    def warm_up(self) -> None:
        """Do nothing."""

    def generate(
        self, order: Order, on_step: OnStep, on_preview: OnPreview | None = None
    ) -> Result:
        """Let the time pass that a GPU would need; each step ends on time, however late the last one was heard."""
        del on_preview
        started = time.perf_counter()
        steps = order.steps * len(order.seeds)
        for k in range(1, steps + 1):
            time.sleep(max(0.0, started + k * STEP_S - time.perf_counter()))
            on_step(k, steps)
        picture = np.zeros((order.height or 64, order.width or 64, 3), np.uint8)
        return Result(
            images=(picture,) * len(order.seeds),
            notes=(),
            generate_s=time.perf_counter() - started,
        )

    def generate_batch(
        self,
        orders: Sequence[Order],
        on_step: OnStep,
        on_previews: Sequence[OnPreview | None] = (),
    ) -> tuple[Result | None, ...]:
        """Leave each to be drawn alone: its time does not depend on company."""
        del on_step, on_previews
        return (None,) * len(orders)


def open_fixed(
    _weights: Path, _loras: Path | None, _tuning: Tuning, _on_status: OnStatus
) -> FixedEngine:
    """Give the engine; there are no weights to read."""
    return FixedEngine()


if __name__ == "__main__":
    sys.exit(main(open_fixed))
