"""The fixed engine with the steps of the job that `benchmarks.peers` gives to all servers."""

import sys
from pathlib import Path

from benchmarks.fixed_engine import FixedEngine
from benchmarks.peer_servers.job import JOB_S
from worker.engine_process.main import main
from worker.engines import OnStatus, Tuning

STEPS = 4  # what a request without a number of steps has


class ShortEngine(FixedEngine):
    """Takes as long as the job."""

    step_s = JOB_S / STEPS


def open_short(
    _weights: Path, _loras: Path | None, _tuning: Tuning, _on_status: OnStatus
) -> ShortEngine:
    """Return the engine."""
    return ShortEngine()


if __name__ == "__main__":
    sys.exit(main(open_short))
