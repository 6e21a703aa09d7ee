"""The measurement of waiters runs, in its short form."""

import sys

from tests.support import processes


def test_short_run_prints_both_figures() -> None:
    """A few waiters are woken, and a few wait at rest."""
    run = processes.run([sys.executable, "-m", "benchmarks.waiters", "--short"])

    assert run.returncode == 0, run.stderr
    assert "| final write to response, 20 waiters | p50 " in run.stdout
    assert "of a core, " in run.stdout
