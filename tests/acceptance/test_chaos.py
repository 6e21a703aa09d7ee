"""The short form of `make chaos`."""

import pytest

from tests.chaos.__main__ import run


@pytest.mark.timeout(300)
def test_chaos_keeps_all_promises() -> None:
    """Half a minute of kills, pauses and full disks: each accepted prediction ends once, with its files and webhook."""
    verdict = run(seconds=25, seed=7, workers=2, couriers=2, batch=4)

    # the time of a recovery depends on the load of the machine: `make chaos` checks it
    broken = [one for one in verdict.violations if not one.startswith("recovery ")]
    assert broken == [], verdict.table()
    assert int(dict(verdict.rows)["accepted"]) > 0
