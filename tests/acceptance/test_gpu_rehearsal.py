"""The GPU benchmark, rehearsed from start to end on this machine."""

import json
import sys
from pathlib import Path

import pytest

from tests.support import processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_every_step_measures_something(tmp_path: Path) -> None:
    """A rehearsal runs every step without an error, saves its values, and renders the report."""
    results_file = tmp_path / "results.json"
    command = [sys.executable, "-m", "benchmarks.gpu_all", "--rehearse", "--total-s", "800"]
    completed = processes.run([*command, "--out", str(results_file)], timeout_s=850)
    steps = json.loads(results_file.read_text())["steps"]

    assert completed.returncode == 0, completed.stdout[-4000:]
    assert {name: step.get("error") for name, step in steps.items()} == dict.fromkeys(
        ["weights", "ceilings", "diffusers", "bf16", "quantized", "backlog", "tests"]
    )
    assert all(step["values"] for step in steps.values())
    assert steps["tests"]["values"]["outcomes"].keys() == {"skipped"}  # no GPU
    assert "images/s" in completed.stdout
