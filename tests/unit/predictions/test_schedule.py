"""When a worker begins a prediction, by what waits and runs before it."""

import pytest

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.schedule import (
    NOTICED_S,
    ModelState,
    ScheduledWorker,
    estimate_start,
    run_all,
)

KIND, OTHER = CheckpointKind.DISTILLED, CheckpointKind.BASE
LOADED = ModelState(start_s=10, loaded_at=0)
ASLEEP = ModelState(start_s=10, loaded_at=None)


def worker(free_at=0.0, turn_s=60, **models):
    kinds = {"own": KIND, "other": OTHER}
    states = {kinds[name]: model for name, model in (models or {"own": LOADED}).items()}
    return ScheduledWorker(free_at=free_at, models=states, turn_s=turn_s)


@pytest.mark.parametrize(
    ("works", "free", "start_s"),
    [
        ([], [0], 0),
        ([], [3], 3),
        ([2, 4], [1], 7),
        ([2, 4], [0, 1], 2),  # the first takes 2 s, the second 4 s
        ([2, 4, 1, 1], [0, 1], 4),
        ([1.0] * 1000, [0, 0], 500),
    ],
)
def test_workers_share_the_line(works, free, start_s):
    """Each worker takes the next prediction when it is free."""
    workers = [worker(free_at=at) for at in free]

    assert estimate_start(KIND, {KIND: works}, workers, {}) == start_s


@pytest.mark.parametrize(
    ("own", "other", "works", "others", "start_s"),
    [
        (LOADED, ASLEEP, [], [], 0),  # the other one has no work
        (LOADED, LOADED, [2, 2], [3, 3, 3], 4 + 2 * 3),  # they alternate
        (ASLEEP, LOADED, [], [4, 3], 7 + 10),  # the other one finishes its work
        (ASLEEP, LOADED, [], [1] * 100, 60 + 10),  # or its turn
        (ASLEEP, LOADED, [], [0.5], NOTICED_S + 10),  # or the token is left to other workers
        (LOADED, ASLEEP, [20, 20, 20], [5], 60 + 10 + 5 + 10),  # a turn, then that of the other one
        (LOADED, ASLEEP, [20, 20], [5], 40),
    ],
)
def test_models_of_a_worker_take_turns(own, other, works, others, start_s):
    """A model that is not loaded waits for its turn, and each change of models starts an engine."""
    since = {KIND: NOTICED_S, OTHER: NOTICED_S}
    workers = [worker(own=own, other=other)]
    start = estimate_start(KIND, {KIND: works, OTHER: others}, workers, since)

    assert start == start_s


def test_asleep_worker_is_started_if_no_other_is_free():
    """A worker that is asleep leaves a token to those that are loaded, and starts when these stay busy."""
    workers = [worker(free_at=5), worker(own=ASLEEP)]

    assert estimate_start(KIND, {KIND: []}, workers, {KIND: 1.5}) == 11.5
    assert estimate_start(KIND, {KIND: []}, [worker(own=ASLEEP)], {KIND: 1.5}) == 11.5


def test_without_a_worker_nothing_is_known():
    """Nobody knows when a prediction starts that no worker serves."""
    assert estimate_start(KIND, {KIND: [1]}, [], {}) is None
    assert estimate_start(KIND, {KIND: []}, [worker(other=LOADED)], {KIND: 1}) is None


def test_what_runs_keeps_its_worker():
    """A worker is free when what it runs and has claimed is over, or now if that should be over already."""
    workers = [worker(free_at=-9), worker(free_at=-9)]
    run_all(workers, [(-8, KIND, 5), (-2, KIND, 3), (-0.1, KIND, 2)])

    assert sorted(w.free_at for w in workers) == [pytest.approx(1.0), pytest.approx(1.9)]
