"""The order in which a worker with several models takes their tokens."""

import pytest

from app.predictions.checkpoint_kind import CheckpointKind
from worker.job.model_turns import ModelTurns

A, B, C = CheckpointKind.DISTILLED, CheckpointKind.BASE, CheckpointKind.DISTILLED_9B
TURN_S = 60.0


class Worker:
    """A worker with memory for some models, and a clock that the test moves."""

    def __init__(self, **since):
        self.since = since
        self.now_s = 0.0
        self.turns = ModelTurns(
            lambda kind: self.since.get(kind.name), TURN_S, patience_s=1.0, clock=lambda: self.now_s
        )

    def order(self, **tokens):
        return self.turns.order([A, B, C], {CheckpointKind[k]: n for k, n in tokens.items()})


@pytest.fixture
def worker():
    return Worker(DISTILLED=0.0)


def test_loaded_model_goes_first(worker):
    """During its turn a loaded model is served before one that waits, and the one that waits when there are no tokens for it."""
    worker.order(BASE=1)
    worker.now_s = 2.0

    assert worker.order(BASE=1) == [A, B]


def test_waiting_model_goes_first_after_turn(worker):
    """After the turn of the loaded model one that waits is served first, so that it does not starve."""
    worker.now_s = TURN_S - 1
    assert worker.order(BASE=1)[0] is A
    worker.now_s = TURN_S

    assert worker.order(BASE=1) == [B, A]


def test_model_without_tokens_is_not_loaded(worker):
    """A turn does not end for a model without tokens."""
    worker.now_s = TURN_S

    assert worker.order() == [A]


def test_token_is_left_to_others_for_a_moment(worker):
    """A model that is not loaded is taken only if its tokens were left for as long as the worker's patience."""
    assert worker.order(BASE=1) == [A]
    worker.now_s = 0.5
    assert worker.order(BASE=0) == [A]
    worker.now_s = 1.0
    assert worker.order(BASE=1) == [A]
    worker.now_s = 2.0
    assert worker.order(BASE=1) == [A, B]


def test_longest_waiting_model_is_loaded_first(worker):
    """Of two models that wait, the one that has waited longer comes first."""
    worker.order(DISTILLED_9B=1)
    worker.now_s = TURN_S
    worker.order(DISTILLED_9B=1, BASE=1)
    worker.now_s += 1

    assert worker.order(DISTILLED_9B=1, BASE=1) == [C, B, A]


def test_turn_begins_with_load(worker):
    """A model that was just loaded has a turn of its own before the other one is loaded again."""
    worker.now_s = TURN_S
    worker.since = {"BASE": TURN_S}
    worker.order(DISTILLED=1)
    worker.now_s += TURN_S - 1

    assert worker.order(DISTILLED=1) == [B, A]
    worker.now_s += 1
    assert worker.order(DISTILLED=1) == [A, B]


def test_loaded_models_take_turns():
    """Where memory holds two models, the one that was served last comes last."""
    worker = Worker(DISTILLED=0.0, BASE=1.0)
    worker.turns.note_use(A)
    assert worker.order() == [B, A]
    worker.turns.note_use(B)

    assert worker.order() == [A, B]


def test_only_model_is_taken_at_once_while_it_is_loaded():
    """A worker with one model takes its tokens, and after each unloading it leaves them to others for a moment again."""
    worker, tokens = Worker(), {A: 1}
    worker.turns.order([A], tokens)
    worker.since = {"DISTILLED": 0.0}
    assert worker.turns.order([A], {}) == [A]
    worker.since = {}
    worker.now_s = 5.0

    assert worker.turns.order([A], tokens) == []
