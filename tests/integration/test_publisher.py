"""From pixels to a final record: failing storages, a Redis outage, and results that come too late."""

import threading

import pytest

from app.predictions.prediction import Cause, Status
from app.predictions.worker_registry import WorkerRegistry
from app.storage.local import LocalStorage
from tests.support.fakes import (
    FailingStorage,
    a_prediction,
    a_result,
    a_store,
    eventually,
    expire_lease,
)
from worker.job.leases import Leases
from worker.job.publisher import BACKLOG, STORE_ATTEMPTS, Publisher


class Desk:
    """A publisher over a storage that fails as often as the test says."""

    def __init__(self, connection, folder):
        self.store = a_store(connection)
        self.local = LocalStorage(folder)
        self.storage = FailingStorage(self.local, failures=0)
        self.leases = Leases(self.store, WorkerRegistry(connection))
        self.publisher = Publisher(self.store, self.storage, self.leases, pause_s=0.001)

    def claim(self, prediction_id="p", owner="a", **values):
        inputs = {"prompt": "x", "seed": 1} | values
        self.store.add(a_prediction(prediction_id, input=inputs))
        self.leases.hold(prediction_id, owner)
        return self.store.change(prediction_id, lambda p, now: p.claim(owner, now))

    def publish(self, prediction, count=1):
        self.publisher.publish(prediction, "a", a_result(count))


@pytest.fixture
def desk(connection, tmp_path):
    desk = Desk(connection, tmp_path)
    yield desk
    desk.publisher.close()


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_storage_that_fails_now_and_then(desk):
    """A put that fails is retried, and the prediction succeeds in the same attempt."""
    desk.storage.failures = STORE_ATTEMPTS - 1
    desk.publish(desk.claim())
    desk.publisher.close()
    ended = desk.store.get("p")

    assert (ended.status, ended.attempt) == (Status.SUCCEEDED, 1)
    assert desk.storage.puts == STORE_ATTEMPTS
    assert desk.local.get(ended.outputs[0].key)


def test_a_storage_that_keeps_failing(desk, tmp_path):
    """After the retries the prediction fails with the storage's reason, retryable. The next one succeeds."""
    desk.storage.failures = STORE_ATTEMPTS
    desk.publish(desk.claim("p"))
    desk.publish(desk.claim("q"))
    desk.publisher.close()
    failed = desk.store.get("p")

    assert failed.failure.cause is Cause.STORAGE
    assert "No space left" in failed.failure.message
    assert failed.failure.is_retryable
    assert desk.store.get("q").status is Status.SUCCEEDED
    assert files(tmp_path) == ["q/a/0.png"]
    assert desk.leases.held == {}


def test_a_late_failure_is_no_error(desk):
    """A storage failure of an attempt that lost its lease does not change the end of the other attempt."""
    desk.storage.failures = STORE_ATTEMPTS
    prediction = desk.claim()
    cancelled = desk.store.change("p", lambda p, now: p.cancel(now))
    desk.publish(prediction)
    desk.publisher.close()

    assert desk.store.get("p") == cancelled


@pytest.mark.parametrize("fate", ["cancelled", "taken over", "deleted"])
def test_a_late_result_leaves_no_file(desk, tmp_path, fate):
    """The result of an attempt that is over is dropped with its files, whoever ended it."""
    prediction = desk.claim()
    if fate == "taken over":
        expire_lease(desk.store, "p")
        desk.store.change("p", lambda p, now: p.claim("b", now))
    else:
        ended = desk.store.change("p", lambda p, now: p.cancel(now))
        if fate == "deleted":
            desk.store.delete(ended)
    desk.publish(prediction, count=2)
    desk.publisher.close()

    assert desk.storage.puts == 2
    assert files(tmp_path) == []


def test_the_engine_waits_only_while_the_backlog_is_full(connection, tmp_path):
    """A limited number of results waits for a slow storage. One more blocks until there is room, and all are published."""
    gate = threading.Event()

    class SlowStorage(LocalStorage):
        def put(self, key, data):
            gate.wait()
            super().put(key, data)

    store = a_store(connection)
    publisher = Publisher(store, SlowStorage(tmp_path), Leases(store, WorkerRegistry(connection)))
    claimed = []
    for number in range(BACKLOG + 1):
        store.add(a_prediction(str(number)))
        claimed.append(store.change(str(number), lambda p, now: p.claim("a", now)))
    for prediction in claimed[:-1]:
        publisher.publish(prediction, "a", a_result())
    last = threading.Thread(target=publisher.publish, args=(claimed[-1], "a", a_result()))
    last.start()

    last.join(0.2)
    assert last.is_alive()
    gate.set()
    last.join()
    publisher.close()
    eventually(lambda: all(store.get(p.id).status is Status.SUCCEEDED for p in claimed))
