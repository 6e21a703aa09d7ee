"""The comparison with other servers runs, in its short form."""

import sys

import pytest

from tests.support import processes


@pytest.mark.slow
def test_short_run_measures_klein() -> None:
    """A short run starts klein's processes around the common job and prints klein's rows. The docs are not changed."""
    short = ["--short", "--only", "klein", "klein, run"]
    run = processes.run([sys.executable, "-m", "benchmarks.peers", *short], timeout_s=200)

    assert run.returncode == 0, run.stderr
    assert "| klein | " in run.stdout
    assert "| klein, run | " in run.stdout
