"""The recipe of the built-in model, as one command that is killed halfway and resumed, with very little training."""

import os
import subprocess
import sys
import time

import pytest

from tests.support import processes
from worker.engines.device import choose_device
from worker.engines.precision import choose_compute_dtype

STEPS = 0.0005  # the share of the built-in model's training steps
SAMPLES = 0.002  # the share of its evaluation samples


@pytest.mark.timeout(240)
def test_a_recipe_that_was_killed_goes_on(tmp_path):
    """The recipe prints how long it takes, keeps finished phases, and writes and evaluates the folder."""
    command = [
        *(sys.executable, "-m", "worker.weights.recipe", "--no-compile", "--resume"),
        *("--out", tmp_path / "out", "--state", tmp_path / "state"),
        *("--scale", str(STEPS), "--share", str(SAMPLES)),
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
    assert "transformer.again: 1 of 1 steps" in second.stdout
    assert done.stat().st_mtime_ns == written
    card = (tmp_path / "out" / "README.md").read_text()
    assert "- steps: 1 of the autoencoder, 2 more of its decoder, 6 of transformer" in card
    assert "one object | " in card
