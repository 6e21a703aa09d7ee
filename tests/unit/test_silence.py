"""How long an engine may be silent: by the median step of the latest orders, for its size."""

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


def learnt(limit, step_s, steps=4):
    picture = np.zeros((1000, 1000, 3), np.uint8)
    result = Result(images=(picture,), notes=(), generate_s=1.0)
    at = [step_s * k for k in range(1, steps + 1)]
    limit.record(an_order(), result, at)
    return limit


def test_a_fast_engine_may_be_silent_for_twenty_seconds():
    """Ten quick steps are no measure: below twenty seconds nothing is a hang."""
    assert learnt(SilenceLimit(), step_s=0.1).limit_s(an_order()) == 20


def test_a_slow_engine_may_be_silent_for_ten_steps():
    """Ten times the median step, whatever one outlier took."""
    limit = SilenceLimit()
    for step_s in (5, 6, 500):
        learnt(limit, step_s)

    assert limit.limit_s(an_order()) == pytest.approx(60)


def test_larger_pictures_may_take_longer():
    """The expectation grows with the pixels and with the input images."""
    limit = learnt(SilenceLimit(), step_s=5)

    assert limit.expected_step_s(an_order(2000, 2000)) == pytest.approx(20)
    assert limit.expected_step_s(an_order(references=1)) == pytest.approx(10)
    assert limit.expected_step_s(an_order(None, None)) == pytest.approx(20)


def test_a_batch_may_take_longer():
    """Four at once may be silent four times as long as one; what four took tells what one will take."""
    limit = learnt(SilenceLimit(), step_s=5)
    batches = SilenceLimit()
    result = Result(images=(np.zeros((1000, 1000, 3), np.uint8),), notes=(), generate_s=1.0)
    batches.record(an_order(), result, [20, 40, 60, 80], 4)

    assert limit.limit_s(an_order(), 4) == pytest.approx(200)
    assert batches.expected_step_s(an_order()) == pytest.approx(5)


def test_edits_are_learnt_from():
    """An order without a size of its own teaches by the size of its picture."""
    limit = SilenceLimit()
    result = Result(images=(np.zeros((500, 1000, 3), np.uint8),), notes=(), generate_s=1.0)
    limit.record(an_order(None, None, references=1), result, [1, 4])

    assert limit.expected_step_s(an_order(500, 1000)) == pytest.approx(1)


@pytest.mark.parametrize("steps", [0, 1])
def test_without_experience_it_is_patient(steps):
    """Before two steps were seen the first order may be silent for ten minutes."""
    limit = learnt(SilenceLimit(), step_s=1, steps=steps)

    assert limit.expected_step_s(an_order()) is None
    assert limit.limit_s(an_order()) == 600
