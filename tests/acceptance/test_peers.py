"""The comparison with other servers runs, in its short form. The docs are not changed."""

import sys

import pytest

from tests.support import processes

SHORT_S = 600.0
PARTS = {
    "creates": ["| creates a second, "],
    "waiters": ["| from the final write to the response, 20 waiters", "| 20 silent waiters"],
    "jobs": ["| processor a prediction", "| round trips to Redis", "| klein, run | "],
    "pictures": ["| one client, a picture of 1024x768", "| first picture", "| FastAPI | "],
    "workers": ["| 2 workers with jobs of 0.2 s"],
}
"""Each part with rows of its tables."""


@pytest.mark.timeout(SHORT_S + 20)
@pytest.mark.parametrize(
    "part",
    [
        "creates",
        "waiters",
        *(pytest.param(part, marks=pytest.mark.slow) for part in ("jobs", "pictures", "workers")),
    ],
)
def test_part_prints_its_rows(part: str) -> None:
    """A part runs with klein's own packages. klein and FastAPI draw the same pictures."""
    command = [sys.executable, "-m", "benchmarks.peers", "--short", "--parts", part]
    run = processes.run(command, timeout_s=SHORT_S)

    assert run.returncode == 0, run.stderr
    for row in PARTS[part]:
        assert row in run.stdout
