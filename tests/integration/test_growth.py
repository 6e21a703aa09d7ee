"""The benchmark of Redis's costs runs, in its short form."""

import re
import sys

import pytest

from tests.support import processes

LIFE = re.compile(r"^\| ([\w -]+) \| [\d,]+ \| ([\d,]+) \|$", re.MULTILINE)


@pytest.mark.timeout(120)
def test_short_run_prints_tables():
    """The short form measures three sizes and prints a row for each operation, and the docs are not changed. A change of a record
    sends and logs only a part of it.
    """
    run = processes.run([sys.executable, "-m", "benchmarks.growth", "--short"], timeout_s=110)

    assert run.returncode == 0, run.stderr
    for row in (
        "| commands |",
        "| enqueue |",
        "| sweep of the courier |",
        "300 open, 300 keys",
        "Retention: ",
    ):
        assert row in run.stdout
    now = {name: int(n.replace(",", "")) for name, n in LIFE.findall(run.stdout)}
    assert now["commands"] <= 53
    assert now["bytes received"] < 4_200
    assert now["bytes of the append-only file"] < 4_700
