"""The short form of `make soak`: memory does not grow with the number of predictions."""

from pathlib import Path

import pytest

from tests.support.klein_server import running_klein
from tests.support.soak import MAX_GROWTH, WATCHED, Curve, soak


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_memory_stays_flat(tiny_weights: Path, tmp_path: Path) -> None:
    """After mixed predictions, some cancelled, worker and engine use as much memory as after the settling phase."""
    with running_klein(tiny_weights, KLEIN_LORAS=str(tmp_path)) as klein:
        curves = soak(klein, 60, tmp_path)

    assert {name: curves[name].growth <= MAX_GROWTH for name in WATCHED} == {
        "worker": True,
        "engine": True,
    }


def test_memory_leak_is_detected() -> None:
    """A process that grows by a megabyte with each prediction is detected, and one that settles is not."""
    assert Curve([200.0 + k for k in range(60)]).growth > MAX_GROWTH
    assert Curve([200.0 + min(k, 20) for k in range(60)]).growth <= MAX_GROWTH
