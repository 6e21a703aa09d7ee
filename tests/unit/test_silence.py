"""The silence limit follows the median step duration of the latest orders, scaled by image size."""

import numpy as np
import pytest

from worker.engine_client.silence import SilenceLimit
from worker.engines import Order, Result


def an_order(width=1000, height=1000, references=0):
    return Order(
        prompt="x",
        width=width,
        height=height,
        steps=4,
        guidance=1.0,
        seeds=(1,),
        reference_files=(b"",) * references,
    )


def recorded(limit, step_s, steps=4):
    picture = np.zeros((1000, 1000, 3), np.uint8)
    result = Result(images=(picture,), notes=(), generate_s=1.0)
    at = [step_s * k for k in range(1, steps + 1)]
    limit.record(an_order(), result, at)
    return limit


def test_limit_is_at_least_twenty_seconds():
    """However fast the steps are, the limit is not below twenty seconds."""
    assert recorded(SilenceLimit(), step_s=0.1).limit_s(an_order()) == 20


def test_limit_is_ten_median_steps():
    """The limit is ten times the median step, so that one outlier does not change it."""
    limit = SilenceLimit()
    for step_s in (5, 6, 500):
        recorded(limit, step_s)

    assert limit.limit_s(an_order()) == pytest.approx(60)


def test_limit_grows_with_image_size():
    """The expected step duration grows with the output size and the number of reference images."""
    limit = recorded(SilenceLimit(), step_s=5)

    assert limit.expected_step_s(an_order(2000, 2000)) == pytest.approx(20)
    assert limit.expected_step_s(an_order(references=1)) == pytest.approx(10)
    assert limit.expected_step_s(an_order(None, None)) == pytest.approx(20)


def test_limit_grows_with_batch_size():
    """A batch of four has four times the limit, and its durations count for a single order as a quarter."""
    limit = recorded(SilenceLimit(), step_s=5)
    batches = SilenceLimit()
    result = Result(images=(np.zeros((1000, 1000, 3), np.uint8),), notes=(), generate_s=1.0)
    batches.record(an_order(), result, [20, 40, 60, 80], 4)

    assert limit.limit_s(an_order(), 4) == pytest.approx(200)
    assert batches.expected_step_s(an_order()) == pytest.approx(5)


def test_edits_are_recorded():
    """An order without a size is recorded with the size of its output."""
    limit = SilenceLimit()
    result = Result(images=(np.zeros((500, 1000, 3), np.uint8),), notes=(), generate_s=1.0)
    limit.record(an_order(None, None, references=1), result, [1, 4])

    assert limit.expected_step_s(an_order(500, 1000)) == pytest.approx(1)


@pytest.mark.parametrize("steps", [0, 1])
def test_initial_limit(steps):
    """Until two steps were recorded the limit is ten minutes."""
    limit = recorded(SilenceLimit(), step_s=1, steps=steps)

    assert limit.expected_step_s(an_order()) is None
    assert limit.limit_s(an_order()) == 600
