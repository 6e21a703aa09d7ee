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


def take_many(queues, count):
    """Take this many turns."""
    return [queues.take(KIND) for _ in range(count)]


def turns_before(queues, wanted, limit):
    """Count how many other predictions run before its turn."""
    return next(n for n in range(limit) if queues.take(KIND) == wanted)


def test_backlog_does_not_delay_another_key(connection, queues):
    """With a thousand queued predictions of one key and one running, another key's single prediction is second in turn."""
    connection.config_set("appendfsync", "no")
    add(connection, "a", BACKLOG)
    connection.config_set("appendfsync", "always")
    running = queues.take(KIND)
    add(connection, "b", 1)

    assert running == "a0"
    assert turns_before(queues, "b0", limit=BACKLOG) <= 1


def test_single_line_is_unfair(connection, queues):
    """A single line for all keys is not fair, so the test above can fail."""
    add(connection, "a", 50, key_id="both")
    add(connection, "b", 1, key_id="both")

    assert turns_before(queues, "b0", limit=60) == 50


def test_keys_take_turns(connection, queues):
    """Three keys with long lines get equal shares, each in its order of arrival."""
    for key in ("a", "b", "c"):
        add(connection, key, 10)
    first = take_many(queues, 15)

    assert Counter(i[0] for i in first) == {"a": 5, "b": 5, "c": 5}
    for key in ("a", "b", "c"):
        assert [i for i in first if i[0] == key] == [f"{key}{n}" for n in range(5)]


def test_sequential_key_gets_every_second_turn(connection, queues):
    """A key that sends one prediction after the other gets every second turn beside a backlog, not all."""
    add(connection, "a", 20)
    order = []
    for number in range(5):
        add(connection, "b", 1, first=number)
        order += take_many(queues, 2)

    assert Counter(i[0] for i in order) == {"a": 5, "b": 5}


def test_key_whose_line_became_empty_comes_after_others(connection, queues):
    """A key that was alone and has just been served comes after a key that arrived in between, and one without a line is passed over."""
    for number in (0, 2):
        add(connection, "a", 1, first=number)
        assert take_many(queues, 1) == [f"a{number}"]
        add(connection, "b", 1, first=number)
        add(connection, "a", 1, first=number + 1)
        assert take_many(queues, 3) == [f"b{number}", f"a{number + 1}", None]


def test_cancelled_prediction_costs_no_turn(connection, queues):
    """A cancelled prediction leaves its line together with its token. The others keep their tokens and their order."""
    add(connection, "a", 3)
    add(connection, "b", 1)
    store = a_store(connection)
    for prediction_id in ("a1", "b0"):
        store.change(prediction_id, lambda p, now: p.cancel(now))

    assert connection.llen("rq:queue:klein-distilled") == 2
    assert take_many(queues, 3) == ["a0", "a2", None]


def test_cancel_leaves_tokens_of_others(connection, queues):
    """Cancelling a prediction that runs on another one's token leaves a token for each waiting prediction."""
    add(connection, "a", 2)
    add(connection, "b", 1)
    for _ in range(2):  # the tokens of a0 and a1 bring a worker to a0 and b0
        connection.lpop("rq:queue:klein-distilled")
        queues.take(KIND)
    a_store(connection).change("b0", lambda p, now: p.cancel(now))

    assert queues.length(KIND) == connection.llen("rq:queue:klein-distilled") == 1


def test_requeued_prediction_keeps_place_in_line(connection, queues):
    """A prediction that is queued again while it is in line keeps its place."""
    add(connection, "a", 3)
    store = a_store(connection)
    store.queue(store.get("a0"))

    assert take_many(queues, 4) == ["a0", "a1", "a2", None]


def test_checkpoint_kinds_have_separate_lines(connection, queues):
    """A worker never takes a prediction that needs the other kind of checkpoint."""
    base = a_prediction("base", model="flux-2-klein-4b-base-text-to-image")
    a_store(connection).add(base)

    assert queues.take(KIND) is None
    assert queues.take(CheckpointKind.BASE) == "base"


def test_prediction_of_lost_worker_is_next(connection, queues):
    """A prediction that lost its worker runs before all waiting predictions of all keys."""
    add(connection, "a", 3)
    add(connection, "b", 3)
    lost_id = queues.take(KIND)
    store = a_store(connection)
    store.queue(store.change(lost_id, lambda p, now: p.claim("dead", now)))

    assert lost_id == "a0"
    assert queues.take(KIND) == lost_id
    assert take_many(queues, 2) == ["b0", "a1"]
