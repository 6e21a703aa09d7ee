"""The ledger on a real Redis: it names what was accepted and has no end, and nothing else."""

from dataclasses import replace
from datetime import timedelta

import pytest

from app.predictions.clock import Clock, from_ms
from app.predictions.ledger import GRACE, EntryState, Ledger
from app.predictions.prediction import Timeouts
from app.predictions.redis_keys import LEDGER, record_key
from tests.support.fakes import a_prediction, a_store

LIMITS = Timeouts(queue=timedelta(hours=2), run=timedelta(hours=1))
NEVER = -timedelta(days=1)
"""A grace that makes everything overdue that has no end."""


@pytest.fixture
def store(connection):
    return a_store(connection)


@pytest.fixture
def accept(connection, store):
    """Accept a prediction that was created so long ago."""

    def accept(prediction_id, age=timedelta()):
        now = Clock(connection).now()
        store.add(a_prediction(prediction_id, created_at=now - age, timeouts=LIMITS))

    return accept


def entries(connection, grace=GRACE):
    return {entry.id: entry.state for entry in Ledger(connection).find_overdue(grace)}


def test_overdue_predictions_are_named(connection, store, accept):
    """A prediction is named once its queue timeout, or the run timeout of its attempt, and the grace are over."""
    accept("in time", LIMITS.queue)
    accept("waits", LIMITS.queue + GRACE)
    accept("begins", LIMITS.queue + GRACE)
    store.change("begins", lambda p, now: p.claim("a", p.created_at))
    store.change("begins", lambda p, now: replace(p, started_at=now))
    accept("runs", LIMITS.run + GRACE)
    store.change("runs", lambda p, now: p.claim("a", now - LIMITS.run - GRACE))

    assert entries(connection) == {"waits": EntryState.QUEUED, "runs": EntryState.RUNNING}
    looked_at_again = from_ms(connection.zscore(LEDGER, "begins"))
    assert abs(looked_at_again - Clock(connection).now() - LIMITS.run) < timedelta(minutes=1)


def test_ended_prediction_leaves_ledger(connection, store, accept):
    """Whatever ends a prediction removes it. One that returns to the queue stays, with the limit of its wait."""
    accept("cancelled")
    store.change("cancelled", lambda p, now: p.cancel(now))
    accept("returned", timedelta(minutes=5))
    store.change("returned", lambda p, now: p.claim("a", now))
    returned = store.change("returned", lambda p, now: p.release("a", now))

    assert connection.zrange(LEDGER, 0, -1) == [b"returned"]
    assert entries(connection, NEVER) == {"returned": EntryState.QUEUED}
    [entry] = Ledger(connection).find_overdue(NEVER)
    assert abs(entry.ends_by - returned.queued_at - LIMITS.queue) < timedelta(seconds=1)


def test_lost_and_unreadable_records_are_named(connection, accept):
    """A record that is gone or damaged is named, because its prediction has no end."""
    for name in ("gone", "damaged", "intact"):
        accept(name)
    connection.delete(record_key("gone"))
    connection.set(record_key("damaged"), "{")

    assert entries(connection, NEVER) == {
        "gone": EntryState.LOST,
        "damaged": EntryState.UNREADABLE,
        "intact": EntryState.QUEUED,
    }


def test_end_by_older_klein_is_noticed(connection, store, accept):
    """An entry whose prediction was ended by a klein without a ledger is removed and not named."""
    accept("p")
    store.change("p", lambda p, now: p.cancel(now))
    connection.zadd(LEDGER, {"p": 1})

    assert entries(connection, NEVER) == {}
    assert connection.zcard(LEDGER) == 0
