"""Reconcile and expire on a real Redis and real files, and the courier that runs them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.clock import to_ms
from app.predictions.errors import Unavailable, UnknownPrediction
from app.predictions.maintenance import Maintenance
from app.predictions.prediction import Idempotency
from app.predictions.queue import Queues
from app.predictions.redis_keys import EXPIRY, OPEN, idempotency_key, record_key
from app.predictions.sweep import NEVER, PART
from app.storage.local import LocalStorage
from tests.support.fakes import (
    FailingStorage,
    a_prediction,
    a_store,
    eventually,
    expire_lease,
    make_due,
)
from tests.support.redis_server import running_redis
from worker.courier import run_regularly

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


def test_lost_token_is_replaced(store, maintenance, connection):
    """A token that is missing at two checks is replaced, once."""
    store.add(a_prediction())
    connection.delete(QUEUE)

    maintenance.reconcile()
    assert connection.llen(QUEUE) == 0
    for _ in range(3):
        maintenance.reconcile()
    assert connection.llen(QUEUE) == 1


def test_waiting_token_is_left_alone(store, maintenance, connection):
    """A prediction that only waits long keeps its token and its place."""
    store.add(a_prediction())
    make_due(connection, "p")
    tokens = connection.lrange(QUEUE, 0, -1)
    for _ in range(3):
        maintenance.reconcile()

    assert connection.lrange(QUEUE, 0, -1) == tokens


def test_expired_lease_is_offered_again(store, maintenance, connection):
    """A prediction whose lease has expired gets a token. One with a current lease does not."""
    queues = Queues(connection)
    for prediction_id in ("dead", "alive"):
        store.add(a_prediction(prediction_id))
        queues.take(CheckpointKind.DISTILLED)
        store.change(prediction_id, lambda p, now: p.claim("a", now))
    connection.delete(QUEUE)
    expire_lease(store, "dead")
    make_due(connection, "dead")
    maintenance.reconcile()

    assert connection.llen(QUEUE) == 1
    assert [queues.take(CheckpointKind.DISTILLED) for _ in range(2)] == ["dead", None]


def test_check_of_running_prediction_follows_lease(store, maintenance, connection):
    """A renewed lease leaves the time of the check. The check finds the lease valid, and plans the next one at its new end."""
    store.add(a_prediction())
    taken = store.take_next(CheckpointKind.DISTILLED, "a")
    connection.delete(QUEUE)
    planned = connection.zscore(OPEN, "p")
    renewed = store.change("p", lambda p, now: p.renew("a", now + timedelta(milliseconds=5)))
    assert connection.zscore(OPEN, "p") == planned == to_ms(taken.claimed.lease_until)
    make_due(connection, "p")
    maintenance.reconcile()

    assert connection.zscore(OPEN, "p") == to_ms(renewed.lease_until) > planned
    assert connection.llen(QUEUE) == 0
    expire_lease(store, "p")
    make_due(connection, "p")
    maintenance.reconcile()
    assert connection.llen(QUEUE) == 1


def test_concurrent_reconcilers_queue_once(store, maintenance, connection):
    """Eight concurrent reconcilers together queue each of forty lost predictions once, with a token."""
    queues = Queues(connection)
    for number in range(40):
        store.add(a_prediction(str(number)))
    while queues.take(CheckpointKind.DISTILLED):
        pass  # as a worker that dies before each claim
    connection.delete(QUEUE)
    for number in range(40):
        make_due(connection, str(number))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: maintenance.reconcile(), range(8)))

    assert queues.length(CheckpointKind.DISTILLED) == connection.llen(QUEUE) == 40


def test_expired_prediction_is_deleted_with_files(connection, storage, tmp_path):
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


def test_failed_deletion_does_not_block_others(connection, storage):
    """If files cannot be deleted, their record stays and is retried later. The others are deleted."""
    store = a_store(connection, retention=timedelta(0))
    maintenance = Maintenance(store, Queues(connection), storage)
    for prediction_id in ("a", "b", "c"):
        store.add(a_prediction(prediction_id))
        end(store, prediction_id)
    storage.failures = 1

    assert maintenance.expire() == 2
    [kept] = [name for name in ("a", "b", "c") if connection.exists(record_key(name))]
    make_due(connection, kept, EXPIRY)
    assert maintenance.expire() == 1


def test_redis_outage_during_reconcile_raises_unavailable(connection, store, storage, tmp_path):
    """An outage between reading a due prediction and checking its token raises Unavailable."""
    nowhere = redis.Redis(unix_socket_path=str(tmp_path / "none"), retry=Retry(NoBackoff(), 0))
    store.add(a_prediction())
    make_due(connection, "p")
    with pytest.raises(Unavailable):
        Maintenance(store, Queues(nowhere), storage).reconcile()


def test_courier_survives_redis_outage(tmp_path):
    """The courier waits while Redis is down. Once it is back, a lost token is reissued."""
    has_failed = threading.Event()

    class Watched(Maintenance):
        def reconcile(self, stopping=NEVER):
            try:
                super().reconcile(stopping)
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
                target=run_regularly, args=(maintenance.reconcile, 0.01, stopping)
            )
            running.start()
            try:
                server.kill()
                assert has_failed.wait(30)
                server.start()
                connection.delete(QUEUE)
                eventually(lambda: connection.llen(QUEUE) == 1)
            finally:
                stopping.set()
                running.join()


@pytest.mark.parametrize(
    "record", [b"{}", b"not json", None, "unknown model"], ids=["empty", "no JSON", "gone", "newer"]
)
def test_unreadable_record_stops_no_other(connection, store, storage, record):
    """Beside a damaged, lost or newer record the others are queued again and deleted, and it stays or is forgotten."""
    expiring = a_store(connection, retention=timedelta(0))
    queues = Queues(connection)
    for number in range(5):
        store.add(a_prediction(f"due{number}"))
        queues.take(CheckpointKind.DISTILLED)
        make_due(connection, f"due{number}")
        store.add(a_prediction(f"old{number}"))
        end(expiring, f"old{number}")
    for prediction_id in ("due0", "old0"):
        if record == "unknown model":
            readable = connection.get(record_key(prediction_id))
            connection.set(record_key(prediction_id), readable.replace(b"klein-4b", b"klein-99b"))
        elif record is None:
            connection.delete(record_key(prediction_id))
        else:
            connection.set(record_key(prediction_id), record)
    maintenance = Maintenance(expiring, queues, storage)
    maintenance.reconcile()
    maintenance.expire()

    assert sorted(queues.list_next(CheckpointKind.DISTILLED, 10)) == [
        f"due{n}" for n in range(1, 5)
    ]
    is_kept = record is not None
    assert (connection.zscore(OPEN, "due0") is not None) is is_kept
    assert connection.zrange(EXPIRY, 0, -1) == ([b"old0"] if is_kept else [])


def test_retention_deletes_all_that_expired(connection, storage):
    """One run deletes all that has expired, however much it is."""
    store = a_store(connection, retention=timedelta(0))
    connection.config_set("appendfsync", "no")
    for number in range(2 * PART + 1):
        store.add(a_prediction(str(number)))
        end(store, str(number))
    connection.config_set("appendfsync", "always")

    assert Maintenance(store, Queues(connection), storage).expire() == 2 * PART + 1


def test_retention_stops_at_shutdown(connection, storage):
    """A courier that stops in the middle of a run deletes no more, and the rest is deleted by the next."""
    store = a_store(connection, retention=timedelta(0))
    for number in range(5):
        store.add(a_prediction(str(number)))
        end(store, str(number))
    stopping = threading.Event()
    stopping.set()

    assert Maintenance(store, Queues(connection), storage).expire(stopping) == 0
    assert connection.zcard(EXPIRY) == 5


def test_deletion_keeps_idempotency_key_of_younger_prediction(connection):
    """After the key's day a second request is accepted. Deleting the first one later leaves the second one's key."""
    store = a_store(connection)
    repeated = Idempotency(key="word", fingerprint="f")
    first = store.add(a_prediction("old", idempotency=repeated))
    connection.delete(idempotency_key("key", "word"))  # after a day
    store.add(a_prediction("young", idempotency=repeated))
    store.delete(end(store, first.id))

    assert store.add(a_prediction("third", idempotency=repeated)).id == "young"


def test_redis_clock_jump_back_delays_no_check(connection, store, maintenance):
    """What was planned before Redis's clock went back an hour is checked after one lease."""
    store.add(a_prediction())
    Queues(connection).take(CheckpointKind.DISTILLED)
    connection.zincrby(OPEN, 3_600_000, "p")
    maintenance.reconcile()
    now_ms = connection.time()[0] * 1000

    assert connection.zscore(OPEN, "p") - now_ms < 20_000


def test_waiting_prediction_is_not_checked_again(connection, store, maintenance):
    """What waits in line costs the reconciler nothing until its time is up."""
    for number in range(20):
        store.add(a_prediction(str(number)))
    connection.config_resetstat()
    for _ in range(5):
        maintenance.reconcile()

    assert "cmdstat_get" not in connection.info("commandstats")
