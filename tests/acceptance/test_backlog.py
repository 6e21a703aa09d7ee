"""The backlog benchmark works as docs/performance.md says."""

import re
import sys
from pathlib import Path

import pytest

from tests.support import processes


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_short_run_leaves_report_unchanged() -> None:
    """A short run measures both variants alternately, prints a row of each, and does not change the report."""
    report = Path("docs/performance.md")
    before = report.read_bytes()
    completed = processes.run(
        [sys.executable, "-m", "benchmarks.backlog", "--waiting", "2", "--rounds", "2"],
        timeout_s=100,
    )

    assert completed.returncode == 0, completed.stderr
    rows = re.findall(
        r"^\| (bare engine loop|through HTTP) \| \d+\.\d\d ", completed.stdout, re.MULTILINE
    )
    assert rows == ["bare engine loop", "through HTTP"]
    assert report.read_bytes() == before
