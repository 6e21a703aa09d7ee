"""Measures everything that needs a GPU in about eight minutes, and writes it into docs/performance.md.

    make bench-gpu                                     # on a machine with a GPU
    python -m benchmarks.gpu_all --rehearse            # the same steps with a tiny shape, on any machine

It builds the 4B's shape with random weights on the device, so it needs no download. Every step is a process with a time
limit. Its values are saved as they are measured, so a step that fails or takes too long loses only the rest of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.gpu_report import RESULTS, render, write_report
from tests.support import processes

TOTAL_S = 480.0
_LAST_LINES = 3  # of the log of a step that failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of `benchmarks.gpu_steps`."""

    name: str
    limit_s: float


STEPS = (
    Step(name="weights", limit_s=100),
    Step(name="ceilings", limit_s=40),
    Step(name="diffusers", limit_s=90),
    Step(name="bf16", limit_s=170),
    Step(name="quantized", limit_s=150),
    Step(name="backlog", limit_s=130),
    Step(name="tests", limit_s=300),
)


def run_step(step: Step, folder: Path, limit_s: float, *, rehearse: bool) -> dict[str, Any]:
    """Run a step within its limit. Return its values, its seconds, and what went wrong."""
    print(f"== {step.name}, at most {limit_s:.0f} s", flush=True)
    log = folder / f"{step.name}.log"
    command = [sys.executable, "-m", "benchmarks.gpu_steps", step.name, str(folder)]
    command += ["--rehearse"] if rehearse else []
    # one cache for all steps, so that a later one does not compile again
    environ = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(folder / "compiled")}
    started = time.monotonic()
    error = ""
    with (
        log.open("wb") as output,
        processes.started(command, stdout=output, stderr=subprocess.STDOUT, env=environ) as running,
    ):
        try:
            if code := running.wait(limit_s):
                error = f"exit code {code}: {_tail(log)}"
        except subprocess.TimeoutExpired:
            error = f"not finished after {limit_s:.0f} s"
    print(log.read_text(errors="replace")[-2000:], error, flush=True)
    values = folder / f"{step.name}.json"
    return {
        "seconds": round(time.monotonic() - started, 1),
        "values": json.loads(values.read_text()) if values.exists() else {},
    } | ({"error": error} if error else {})


def _tail(log: Path) -> str:
    return " / ".join(log.read_text(errors="replace").strip().splitlines()[-_LAST_LINES:])


def run_all(
    folder: Path, results_file: Path, *, rehearse: bool, total_s: float = TOTAL_S
) -> dict[str, Any]:
    """Run all steps within `total_s` seconds. Write the results after each."""
    deadline = time.monotonic() + total_s
    results: dict[str, Any] = {
        "measured_at": f"{datetime.now(UTC):%Y-%m-%d}",
        "is_rehearsal": rehearse,
        "steps": {},
    }
    for step in STEPS:
        limit_s = min(step.limit_s, deadline - time.monotonic())
        results["steps"][step.name] = (
            run_step(step, folder, limit_s, rehearse=rehearse)
            if limit_s > 0
            else {"seconds": 0, "values": {}, "error": "no time was left"}
        )
        results_file.write_text(json.dumps(results, indent=1) + "\n")
    return results


def main() -> None:
    """Measure, and write the results and the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rehearse", action="store_true", help="a tiny shape; writes no report")
    parser.add_argument("--out", type=Path, default=RESULTS, help="the file of the results")
    parser.add_argument("--total-s", type=float, default=TOTAL_S)
    arguments = parser.parse_args()
    with TemporaryDirectory(prefix="gpu-all-") as folder:
        results = run_all(
            Path(folder), arguments.out, rehearse=arguments.rehearse, total_s=arguments.total_s
        )
    print(render(results))
    if arguments.out == RESULTS and not arguments.rehearse:
        write_report()
    if any("error" in step for step in results["steps"].values()):
        raise SystemExit("some steps failed; the others are saved")


if __name__ == "__main__":
    main()
