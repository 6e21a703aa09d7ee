"""Reconcile and expire on a real Redis and real files, and the courier that runs them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.predictions.errors import Unavailable, UnknownPrediction
from app.predictions.maintenance import Maintenance
from app.predictions.queue import Queues
from app.predictions.redis_keys import EXPIRY
from app.storage.local import LocalStorage
from app.uploads import Uploads
from tests.support.fakes import (
    FailingStorage,
    a_prediction,
    a_store,
    eventually,
    expire_lease,
    make_due,
)
from tests.support.redis_server import running_redis
from worker.courier import run_maintenance

QUEUE = "rq:queue:klein-distilled"


@pytest.fixture
def store(connection):
    return a_store(connection)


@pytest.fixture
def storage(tmp_path):
    return FailingStorage(LocalStorage(tmp_path), failures=0)


@pytest.fixture
def maintenance(connection, store, storage):
    return Maintenance(store, Queues(connection), storage)


def end(store, prediction_id):
    return store.change(prediction_id, lambda p, now: p.cancel(now))


def test_a_lost_token_is_issued_anew(store, maintenance, connection):
    """A queued prediction whose token is lost gets a token with another name, once."""
    store.add(a_prediction())
    connection.delete(QUEUE)
    make_due(connection, "p")

    assert [maintenance.reconcile(), maintenance.reconcile()] == [1, 0]
    assert connection.lrange(QUEUE, 0, -1) == [b"p-2"]
    assert store.get("p").token == 2


def test_a_waiting_token_is_left_alone(store, maintenance, connection):
    """A prediction that only waits long keeps its token and its place."""
    store.add(a_prediction())
    make_due(connection, "p")

    assert maintenance.reconcile() == 0
    assert connection.lrange(QUEUE, 0, -1) == [b"p-1"]


def test_a_lapsed_lease_is_offered_again(store, maintenance, connection):
    """A prediction whose lease has expired gets a token. One with a current lease does not."""
    for prediction_id in ("dead", "alive"):
        store.add(a_prediction(prediction_id))
        store.change(prediction_id, lambda p, now: p.claim("a", now))
    connection.delete(QUEUE)
    expire_lease(store, "dead")
    make_due(connection, "dead")

    assert maintenance.reconcile() == 1
    assert connection.lrange(QUEUE, 0, -1) == [b"dead-2"]


def test_many_couriers_issue_one_token(store, maintenance, connection):
    """Eight concurrent reconcilers together issue one token for each of forty lost predictions."""
    for number in range(40):
        store.add(a_prediction(str(number)))
        make_due(connection, str(number))
    connection.delete(QUEUE)
    with ThreadPoolExecutor(8) as threads:
        issued = list(threads.map(lambda _: maintenance.reconcile(), range(8)))

    assert sum(issued) == connection.llen(QUEUE) == 40


def test_what_has_expired_is_deleted_with_its_files(connection, storage, tmp_path):
    """The record, its history entry and its files are deleted together. Open and retained predictions stay."""
    store = a_store(connection, retention=timedelta(0))
    maintenance = Maintenance(store, Queues(connection), storage)
    for prediction_id in ("old", "open"):
        store.add(a_prediction(prediction_id))
        storage.put(f"{prediction_id}/in-0.png", b"in")
        storage.put(f"{prediction_id}/a/0.png", b"out")
    end(store, "old")
    a_store(connection).add(a_prediction("kept"))
    end(a_store(connection), "kept")

    assert maintenance.expire() == 1
    assert [path.name for path in tmp_path.iterdir()] == ["open"]
    assert connection.zrange("klein:history:key", 0, -1) == [b"kept", b"open"]
    assert connection.zrange(EXPIRY, 0, -1) == [b"kept"]
    with pytest.raises(UnknownPrediction):
        store.get("old")
    assert maintenance.expire() == 0


def test_files_that_cannot_be_deleted_hold_nobody_up(connection, storage):
    """If files cannot be deleted, their record stays and is retried later. The others are deleted."""
    store = a_store(connection, retention=timedelta(0))
    maintenance = Maintenance(store, Queues(connection), storage)
    for prediction_id in ("a", "b", "c"):
        store.add(a_prediction(prediction_id))
        end(store, prediction_id)
    storage.failures = 1

    assert maintenance.expire() == 2
    assert store.get("a")
    make_due(connection, "a", EXPIRY)
    assert maintenance.expire() == 1


def test_redis_that_goes_away_meanwhile_is_unavailable(connection, store, storage, tmp_path):
    """An outage between reading a due prediction and checking its token raises Unavailable."""
    nowhere = redis.Redis(unix_socket_path=str(tmp_path / "none"), retry=Retry(NoBackoff(), 0))
    store.add(a_prediction())
    make_due(connection, "p")
    with pytest.raises(Unavailable):
        Maintenance(store, Queues(nowhere), storage).reconcile()


def test_the_courier_outlives_an_outage(tmp_path):
    """The courier waits while Redis is down. Once it is back, a lost token is reissued."""
    has_failed = threading.Event()

    class Watched(Maintenance):
        def reconcile(self):
            try:
                return super().reconcile()
            except Unavailable:
                has_failed.set()
                raise

    with running_redis() as server:
        hasty = redis.Redis.from_url(server.url, retry=Retry(NoBackoff(), 0))
        with hasty, server.connect() as connection:
            store = a_store(connection)
            store.add(a_prediction())
            maintenance = Watched(a_store(hasty), Queues(hasty), LocalStorage(tmp_path))
            stopping = threading.Event()
            running = threading.Thread(
                target=run_maintenance,
                args=(maintenance, Uploads(hasty, LocalStorage(tmp_path)), stopping, 0.01),
            )
            running.start()
            try:
                server.kill()
                assert has_failed.wait(30)
                server.start()
                connection.delete(QUEUE)
                make_due(connection, "p")
                eventually(lambda: connection.lrange(QUEUE, 0, -1) == [b"p-2"])
            finally:
                stopping.set()
                running.join()
