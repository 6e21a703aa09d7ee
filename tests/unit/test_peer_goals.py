"""The table of goals says what is reached."""

import pytest

from benchmarks.peer_goals import Goal, Measured, goals
from benchmarks.peer_pictures import BARE, DEFAULT, SMALL, Drawn
from benchmarks.peer_runs import Figures


@pytest.mark.parametrize(
    ("seen", "at_least", "is_reached"),
    [
        ((1.0, 20.0), False, True),
        ((1.0, 26.0), False, False),
        ((1.0, 26.0), True, True),
        ((0.9, 26.0), True, False),
    ],
)
def test_goal_is_reached_if_every_value_is_within_its_limit(seen, at_least, is_reached):
    """Each of the values counts, as a largest or a smallest one."""
    goal = Goal(measure="m", form="{} and {}", limits=(1.0, 25.0), seen=seen, at_least=at_least)

    assert goal.is_reached is is_reached
    assert ("**no**" in goal.row) is not is_reached


def test_limits_follow_the_others_of_the_same_run():
    """klein may take 12 ms of processor, but no more than the queues, and 5 ms more than cog for a picture."""
    drawn = Drawn(
        starts={t: Figures(start_s=9, start_mb=300) for t in ("klein", "klein, run", "cog")}
    )
    drawn.times_s = {
        size: {BARE: [0.1] * 2, "klein": [0.107] * 2, "klein, run": [0.108] * 2, "cog": [0.103] * 2}
        for size in (SMALL, DEFAULT)
    }
    jobs = {
        title: Figures(processor_s=[ms / 1000], backlog={8: [0.95], 64: [0.9]})
        for title, ms in (("klein", 11), ("RQ and FastAPI", 16), ("Celery and FastAPI", 10))
    }

    rows = {goal.measure: goal for goal in goals(Measured(jobs=jobs, drawn=drawn))}

    processor, at_8, at_64, small, default, run, start = rows.values()
    assert processor.limits == (10,)
    assert small.limits == pytest.approx((8,))
    assert small.seen == pytest.approx((7,))
    assert default.limits == pytest.approx((1.03,))
    reached = [goal.is_reached for goal in (processor, at_8, at_64, small, default, run, start)]
    assert reached == [False, True, False, True, False, False, True]


def test_parts_that_did_not_run_have_no_rows():
    """Only what was measured is compared."""
    assert [goal.seen for goal in goals(Measured(calls=(5.0, 4.0)))] == [(5.0, 4.0)]
