"""The queue timeout, on Redis's clock: a prediction that nobody takes in time ends, with or without a token, and only then."""

import time
from dataclasses import replace
from datetime import timedelta

import pytest

from app.cached import SOON_S
from app.predictions.clock import READ_EVERY_S, Clock
from app.predictions.failure import Cause
from app.predictions.maintenance import Maintenance
from app.predictions.prediction import Status, Timeouts
from app.predictions.queue import Queues
from app.predictions.redis_keys import OPEN
from app.predictions.worker_registry import WorkerRegistry
from app.storage.local import LocalStorage
from tests.support.fakes import a_prediction, a_store, make_due
from worker.job.leases import BEAT_S

QUEUE = "rq:queue:klein-distilled"
SHORT = Timeouts(queue=timedelta(seconds=5), run=timedelta(seconds=60))


@pytest.fixture
def store(connection):
    return a_store(connection)


@pytest.fixture
def maintenance(connection, store, tmp_path):
    return Maintenance(store, Queues(connection), LocalStorage(tmp_path))


def add(store, connection, prediction_id, waited_s):
    """Add a prediction that has been waiting for a while."""
    now = Clock(connection).now()
    waited = timedelta(seconds=waited_s)
    store.add(a_prediction(prediction_id, created_at=now - waited, timeouts=SHORT))


@pytest.mark.parametrize("has_token", [True, False])
def test_queue_timeout_ends_prediction_at_reconcile(store, maintenance, connection, has_token):
    """Reconcile ends predictions past their queue timeout, whether the token still waits or was lost. The others stay."""
    add(store, connection, "late", waited_s=5.5)
    add(store, connection, "early", waited_s=1)
    if not has_token:
        connection.delete(QUEUE)
    for prediction_id in ("late", "early"):
        make_due(connection, prediction_id)
    maintenance.reconcile()

    assert store.get("late").failure.cause is Cause.QUEUE_TIMEOUT
    assert store.get("early").status is Status.QUEUED
    assert connection.zrange(OPEN, 0, -1) == [b"early"]


def test_next_check_is_at_queue_timeout(store, maintenance, connection):
    """When a token still waits, the next check is planned no later than the queue timeout."""
    add(store, connection, "p", waited_s=1)
    limit_ms = store.get("p").queue_deadline.timestamp() * 1000
    make_due(connection, "p")
    maintenance.reconcile()

    assert connection.zscore(OPEN, "p") == pytest.approx(limit_ms, abs=1)


def test_worker_ends_prediction_past_queue_timeout(store, connection):
    """A worker that takes the token too late fails the prediction instead of running it."""
    add(store, connection, "p", waited_s=5.5)

    assert store.change("p", lambda p, now: p.claim("a", now)).status is Status.FAILED


def test_predictions_use_redis_time(connection, monkeypatch):
    """Predictions get Redis's time, also between its answers, although the api's clock is an hour off."""
    seconds, microseconds = connection.time()
    monkeypatch.setattr(time, "time", lambda: seconds - 3600)
    clock = Clock(connection)
    first, second = clock.now(), clock.now()

    assert abs(first.timestamp() - seconds - microseconds / 1e6) < 5
    assert first < second < first + timedelta(seconds=5)


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="Linux alone counts sleep")
def test_time_is_read_again_after_the_host_slept(connection, monkeypatch):
    """The time of a sleep counts, so that the next prediction is not created before it."""
    clock = Clock(connection)
    clock.now()
    assert clock.is_fresh
    passed_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: passed_s + 3600)

    assert not clock.is_fresh


def test_announcements_of_a_worker_keep_its_clock_fresh(connection, store):
    """A worker reads the time with each announcement, and not again for the claim that comes before the next one."""
    WorkerRegistry(connection, store.clock).now()

    assert store.clock.is_fresh
    assert BEAT_S + SOON_S < READ_EVERY_S


def test_record_without_queue_timeout_waits_forever(store, maintenance, connection):
    """Records from before the queue timeout existed wait forever."""
    store.add(a_prediction())
    store.change("p", lambda p, _now: replace(p, created_at=p.created_at - timedelta(days=999)))
    make_due(connection, "p")
    maintenance.reconcile()

    assert store.get("p").status is Status.QUEUED
