"""The fixed engine with images of 0.2 s, as a GPU draws them in a few steps."""

import sys
from pathlib import Path

from benchmarks.fixed_engine import FixedEngine
from worker.engine_process.main import main
from worker.engines import OnStatus, Tuning

STEPS = 4
IMAGE_S = 0.2


class QuickEngine(FixedEngine):
    """Takes 0.2 s for an image of four steps."""

    step_s = IMAGE_S / STEPS


def open_quick(
    _weights: Path, _loras: Path | None, _tuning: Tuning, _on_status: OnStatus
) -> QuickEngine:
    """Return the engine."""
    return QuickEngine()


if __name__ == "__main__":
    sys.exit(main(open_quick))
