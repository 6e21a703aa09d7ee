"""The recipe of the built-in model, as one command that is killed halfway and resumed, with very little training."""

import os
import subprocess
import sys
import time

import pytest

from tests.support import processes
from worker.engines.device import choose_device
from worker.engines.precision import choose_compute_dtype

STEPS = 0.0003  # the share of the built-in model's training steps


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_killed_recipe_resumes(tmp_path):
    """The recipe prints how long it takes, keeps finished phases, and writes and evaluates the folder."""
    command = [
        *(sys.executable, "-m", "worker.weights.recipe", "--no-compile", "--resume"),
        *("--out", tmp_path / "out", "--state", tmp_path / "state"),
        *("--scale", str(STEPS), "--rehearse"),
    ]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}  # the other tests need the cores too
    done = tmp_path / "state" / "autoencoder.done.pt"
    with processes.started(command, env=environ, stdout=subprocess.PIPE) as first:
        while not done.exists() and first.poll() is None:
            time.sleep(0.1)
        first.kill()
        started = first.communicate()[0]
    assert b"for all steps here" in started
    assert f" in {choose_compute_dtype(choose_device())}".replace("torch.", "").encode() in started
    assert first.returncode == -9
    written = done.stat().st_mtime_ns

    second = processes.run(command, env=environ, timeout_s=200)

    assert second.returncode == 0, second.stderr
    assert "going on from" in second.stdout
    for phase in ("transformer.again", "straight", "base"):
        assert f"{phase}: 1 of 1 steps" in second.stdout
    assert done.stat().st_mtime_ns == written
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- steps: 1 of the autoencoder, 1 more of its decoder, 4 of transformer" in card
    assert "one object | " in card
    base = (tmp_path / "out-base" / "README.md").read_text()
    assert "# klein-builtin-base" in base
    assert "one object | " in base
