"""Tests of the benchmark of several workers."""

import re
import sys
from pathlib import Path

from tests.support import processes


def test_every_number_of_workers_has_its_row(tmp_path: Path) -> None:
    """A short run draws with one worker and with two, and says what Redis and the api spent."""
    report = tmp_path / "report.md"
    report.write_text("# Before\n")
    short = ["--workers", "1", "2", "--steps", "1", "--rounds", "2", "--report", str(report)]
    ran = processes.run([sys.executable, "-m", "benchmarks.scaling", *short])

    assert ran.returncode == 0, ran.stderr
    told = report.read_text()
    assert told.startswith("# Before\n")
    assert re.findall(r"^\| (\d) \| \d\.\d{3} \| \d\.\d{3} \|", told, re.MULTILINE) == ["1", "2"]
    assert re.findall(r"^\| (Redis|API) \| \d", told, re.MULTILINE) == ["Redis", "API"]
