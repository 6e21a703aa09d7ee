"""Fairness on a real Redis: one key's backlog delays another key's prediction by one job at most."""

from collections import Counter

import pytest

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.queue import Queues
from tests.support.fakes import a_prediction, a_store

KIND = CheckpointKind.DISTILLED
BACKLOG = 1000


@pytest.fixture
def queues(connection):
    return Queues(connection)


def add(connection, key, count, first=0, key_id=None):
    """Queue predictions of one key, whose ids begin with its name."""
    store = a_store(connection)
    for number in range(first, first + count):
        store.add(a_prediction(f"{key}{number}", key_id=key_id or key))


def taken(queues, count):
    """Take this many turns."""
    return [queues.take(KIND) for _ in range(count)]


def turns_before(queues, wanted, most):
    """Count how many other predictions run before its turn."""
    return next(n for n in range(most) if queues.take(KIND) == wanted)


def test_a_backlog_does_not_hold_up_another_key(connection, queues):
    """With a thousand queued predictions of one key and one running, another key's single prediction is second in turn."""
    connection.config_set("appendfsync", "no")
    add(connection, "a", BACKLOG)
    connection.config_set("appendfsync", "always")
    running = queues.take(KIND)
    add(connection, "b", 1)

    assert running == "a0"
    assert turns_before(queues, "b0", most=BACKLOG) <= 1


def test_without_turns_it_would(connection, queues):
    """A single line for all keys is not fair, so the test above can fail."""
    add(connection, "a", 50, key_id="both")
    add(connection, "b", 1, key_id="both")

    assert turns_before(queues, "b0", most=60) == 50


def test_keys_take_turns(connection, queues):
    """Three keys with long lines get equal shares, each in its order of arrival."""
    for key in ("a", "b", "c"):
        add(connection, key, 10)
    first = taken(queues, 15)

    assert Counter(i[0] for i in first) == {"a": 5, "b": 5, "c": 5}
    for key in ("a", "b", "c"):
        assert [i for i in first if i[0] == key] == [f"{key}{n}" for n in range(5)]


def test_who_comes_again_waits_a_turn(connection, queues):
    """A key that sends one prediction after the other gets every second turn beside a backlog, not all."""
    add(connection, "a", 20)
    order = []
    for number in range(5):
        add(connection, "b", 1, first=number)
        order += taken(queues, 2)

    assert Counter(i[0] for i in order) == {"a": 5, "b": 5}


def test_what_is_cancelled_costs_no_turn(connection, queues):
    """A cancelled prediction leaves its line together with its token. The others keep their tokens and their order."""
    add(connection, "a", 3)
    add(connection, "b", 1)
    store = a_store(connection)
    for prediction_id in ("a1", "b0"):
        store.change(prediction_id, lambda p, now: p.cancel(now))

    assert connection.lrange("rq:queue:klein-distilled", 0, -1) == [b"a0-1", b"a2-1"]
    assert taken(queues, 3) == ["a0", "a2", None]


def test_a_cancel_takes_nobody_elses_token(connection, queues):
    """Cancelling a prediction that runs on another one's token leaves a token for each waiting prediction."""
    add(connection, "a", 2)
    add(connection, "b", 1)
    for _ in range(2):  # the tokens of a0 and a1 bring a worker to a0 and b0
        connection.lpop("rq:queue:klein-distilled")
        queues.take(KIND)
    a_store(connection).change("b0", lambda p, now: p.cancel(now))

    assert queues.is_queued(a_prediction("a1", key_id="a"))
    assert connection.lrange("rq:queue:klein-distilled", 0, -1) == [b"b0-1"]


def test_who_is_in_line_keeps_the_place(connection, queues):
    """A reissued token does not move its prediction to the end of its line."""
    add(connection, "a", 3)
    a_store(connection).change("a0", lambda p, _now: p.reissue())

    assert taken(queues, 4) == ["a0", "a1", "a2", None]


def test_kinds_of_checkpoints_have_lines_of_their_own(connection, queues):
    """A worker never takes a prediction that needs the other kind of checkpoint."""
    base = a_prediction("base", model="flux-2-klein-4b-base-text-to-image")
    a_store(connection).add(base)

    assert queues.take(KIND) is None
    assert queues.take(CheckpointKind.BASE) == "base"


def test_what_lost_its_worker_comes_next(connection, queues):
    """A prediction that lost its worker runs before all waiting predictions of all keys."""
    add(connection, "a", 3)
    add(connection, "b", 3)
    lost = queues.take(KIND)
    store = a_store(connection)
    store.change(lost, lambda p, _now: p.reissue())

    assert lost == "a0"
    assert queues.take(KIND) == lost
    assert taken(queues, 2) == ["b0", "a1"]
