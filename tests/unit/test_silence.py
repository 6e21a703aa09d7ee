"""The limit of a step follows the median step duration of the latest orders, scaled by image size."""

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
    image = np.zeros((1000, 1000, 3), np.uint8)
    result = Result(images=(image,), notes=(), generate_s=1.0)
    at = [step_s * k for k in range(1, steps + 1)]
    limit.record(an_order(), result, at)
    return limit


def test_limit_is_at_least_a_minute():
    """However fast the steps are, the limit is not below a minute."""
    assert recorded(SilenceLimit(), step_s=0.1).step_s(an_order(), []) == 60


def test_limit_is_ten_median_steps():
    """The limit is ten times the median step, so that one outlier does not change it."""
    limit = SilenceLimit()
    for step_s in (7, 8, 500):
        recorded(limit, step_s)

    assert limit.step_s(an_order(), [1]) == pytest.approx(80)


def test_steps_of_the_order_itself_count_first():
    """Two steps of the order that runs say more than earlier orders."""
    limit = recorded(SilenceLimit(), step_s=1)

    assert limit.step_s(an_order(), [0, 20, 40]) == pytest.approx(200)
    assert limit.stop_s(an_order(), [0, 20, 40]) == pytest.approx(60)


def test_stop_takes_up_to_three_steps():
    """A request stops at its next step, so a slow step needs more than the two seconds that any request has."""
    assert SilenceLimit().stop_s(an_order(), []) == 2
    assert recorded(SilenceLimit(), step_s=0.1).stop_s(an_order(), []) == 2
    assert recorded(SilenceLimit(), step_s=30).stop_s(an_order(), []) == pytest.approx(90)


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

    assert limit.step_s(an_order(), [], 4) == pytest.approx(200)
    assert batches.expected_step_s(an_order()) == pytest.approx(5)


def test_edits_are_recorded():
    """An order without a size is recorded with the size of its output."""
    limit = SilenceLimit()
    result = Result(images=(np.zeros((500, 1000, 3), np.uint8),), notes=(), generate_s=1.0)
    limit.record(an_order(None, None, references=1), result, [1, 4])

    assert limit.expected_step_s(an_order(500, 1000)) == pytest.approx(1)


@pytest.mark.parametrize("steps", [0, 1])
def test_no_limit_before_first_measurement(steps):
    """Until two steps were recorded a step has no limit."""
    limit = recorded(SilenceLimit(), step_s=1, steps=steps)

    assert limit.expected_step_s(an_order()) is None
    assert limit.step_s(an_order(), [1]) == float("inf")
