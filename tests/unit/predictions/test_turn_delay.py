"""How long the other models of a worker delay a prediction."""

from datetime import timedelta

import pytest

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.turn_delay import Neighbour, turn_delay
from app.predictions.worker_registry import Worker, WorkerState

READY, ASLEEP = WorkerState.READY, WorkerState.ASLEEP


def entry(state):
    return Worker(
        name="w",
        checkpoint=CheckpointKind.BASE,
        weights="x",
        revision="1",
        seen_at=0,
        state=state,
        start_s=10,
        process="p",
        turn_s=60,
    )


@pytest.mark.parametrize(
    ("own", "other", "queued_s", "wait_s", "delay_s"),
    [
        (READY, ASLEEP, 0, 500, 0),  # the other one has no work
        (ASLEEP, READY, 20, 0, 20),  # it finishes its work
        (ASLEEP, READY, 900, 0, 60),  # or its turn
        (ASLEEP, ASLEEP, 20, 0, 0),  # both wait for the next load
        (READY, ASLEEP, 900, 59, 0),  # within its turn
        (READY, ASLEEP, 900, 61, 80),  # a turn of the other one, and two starts
        (READY, ASLEEP, 30, 130, 2 * 20 + 30),
        (READY, READY, 5, 100, 5),  # they alternate
        (READY, READY, 500, 100, 100),
    ],
)
def test_delay(own, other, queued_s, wait_s, delay_s):
    """The delay follows the turns and the starts of engines that end them."""
    neighbour = Neighbour(entry=entry(other), queued=timedelta(seconds=queued_s))
    delay = turn_delay(entry(own), [neighbour], 9, timedelta(seconds=wait_s))

    assert delay == timedelta(seconds=delay_s)


def test_worker_with_one_model_has_no_delay():
    """Nothing delays a prediction of a worker that has no other model."""
    assert turn_delay(entry(ASLEEP), [], 3, timedelta(seconds=9)) == timedelta()
