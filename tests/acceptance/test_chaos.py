"""The short form of `make chaos`."""

import pytest

from tests.chaos.__main__ import run


@pytest.mark.timeout(300)
def test_chaos_breaks_no_promise() -> None:
    """Half a minute of kills, pauses and full disks: each accepted prediction ends once, with its files and webhook."""
    verdict = run(seconds=25, seed=7, workers=2)

    assert verdict.violations == [], verdict.table()
    assert int(dict(verdict.rows)["accepted"]) > 0
