"""The scaling benchmark works as docs/performance.md says."""

import re
import sys
from pathlib import Path

import pytest

from tests.support import processes


@pytest.mark.slow
def test_table_has_row_per_number_of_workers(tmp_path: Path) -> None:
    """A short run measures one worker and two, and reports the load of Redis and the api."""
    report = tmp_path / "report.md"
    report.write_text("# Before\n")
    short = ["--workers", "1", "2", "--steps", "1", "--rounds", "2", "--report", str(report)]
    completed = processes.run([sys.executable, "-m", "benchmarks.scaling", *short])

    assert completed.returncode == 0, completed.stderr
    text = report.read_text()
    assert text.startswith("# Before\n")
    assert re.findall(r"^\| (\d) \| \d\.\d{3} \| \d\.\d{3} \|", text, re.MULTILINE) == ["1", "2"]
    assert re.findall(r"^\| (Redis|API) \| \d", text, re.MULTILINE) == ["Redis", "API"]
