"""From pixels to a final record: failing storages, a Redis outage, and results that come too late."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from app.predictions.failure import Cause
from app.predictions.prediction import Status
from app.storage.local import LocalStorage
from app.storage.time_limit import TimeLimitedStorage
from tests.support.fakes import (
    FailingStorage,
    a_prediction,
    a_result,
    a_store,
    eventually,
    expire_lease,
)
from worker.job.leases import BEAT_S, Lease, Leases
from worker.job.publisher import BACKLOG, STORE_ATTEMPTS, Publisher


class Desk:
    """A publisher over a storage that fails as often as the test says."""

    def __init__(self, connection, folder, beat_s=BEAT_S):
        self.store = a_store(connection)
        self.local = LocalStorage(folder)
        self.storage = FailingStorage(self.local, failures=0)
        self.leases = Leases(self.store, beat_s)
        self.publisher = Publisher(self.store, self.storage, self.leases, pause_s=0.001)

    def claim(self, prediction_id="p", owner="a", **values):
        inputs = {"prompt": "x", "seed": 1} | values
        self.store.add(a_prediction(prediction_id, input=inputs))
        return self.hold(prediction_id, owner)

    def hold(self, prediction_id, owner):
        claimed = self.store.change(prediction_id, lambda p, now: p.claim(owner, now))
        lease = Lease(prediction=claimed, owner=owner)
        self.leases.hold(lease)
        return lease

    def publish(self, lease, count=1):
        self.publisher.publish(lease, a_result(count))


@pytest.fixture
def desk(connection, tmp_path):
    desk = Desk(connection, tmp_path)
    yield desk
    desk.publisher.close()


def test_result_that_cannot_be_published_stops_no_others(desk):
    """An unexpected error while one result is published drops its lease, and the next result is published."""
    broken = replace(a_result(), images=(np.zeros((4, 4), np.uint8),))
    desk.publisher.publish(desk.claim("p"), broken)
    desk.publish(desk.claim("q"))
    desk.publisher.close()

    assert desk.store.get("p").status is Status.RUNNING
    assert desk.store.get("q").status is Status.SUCCEEDED
    assert desk.leases.held == frozenset()


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_storage_failure_is_retried(desk):
    """A put that fails is retried, and the prediction succeeds in the same attempt."""
    desk.storage.failures = STORE_ATTEMPTS - 1
    desk.publish(desk.claim())
    desk.publisher.close()
    ended = desk.store.get("p")

    assert (ended.status, ended.attempt) == (Status.SUCCEEDED, 1)
    assert desk.storage.puts == STORE_ATTEMPTS
    assert desk.local.get(ended.outputs[0].key)


def test_storage_failure_after_retries_fails_prediction(desk, tmp_path):
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
    assert desk.leases.held == frozenset()


def test_storage_failure_after_lost_lease_changes_nothing(desk):
    """A storage failure of an attempt that lost its lease does not change the end of the other attempt."""
    desk.storage.failures = STORE_ATTEMPTS
    lease = desk.claim()
    cancelled = desk.store.change("p", lambda p, now: p.cancel(now))
    desk.publish(lease)
    desk.publisher.close()

    assert desk.store.get("p") == cancelled


@pytest.mark.parametrize("fate", ["cancelled", "taken over", "deleted"])
def test_late_result_leaves_no_file(desk, tmp_path, fate):
    """The result of an attempt that is over is dropped with its files, whoever ended it."""
    lease = desk.claim()
    if fate == "taken over":
        expire_lease(desk.store, "p")
        desk.store.change("p", lambda p, now: p.claim("b", now))
    else:
        ended = desk.store.change("p", lambda p, now: p.cancel(now))
        if fate == "deleted":
            desk.store.delete(ended)
    desk.publish(lease, count=2)
    desk.publisher.close()

    assert desk.storage.puts == 2
    assert files(tmp_path) == []


class SlowStorage(LocalStorage):
    """A storage whose puts wait for the test."""

    def __init__(self, folder):
        super().__init__(folder)
        self.gate = threading.Event()

    def put(self, key, data):
        self.gate.wait()
        super().put(key, data)


def test_hung_storage_lets_lease_expire(connection, tmp_path):
    """If storing never ends, the lease is not renewed after the limit. Another attempt succeeds, and the late result is discarded."""
    storage = SlowStorage(tmp_path)
    desk = Desk(connection, tmp_path, beat_s=0.01)
    publisher = Publisher(desk.store, storage, desk.leases, publish_s=0.1)
    desk.leases.start()
    publisher.publish(desk.claim(owner="a"), a_result())
    eventually(lambda: desk.leases.held == frozenset())
    expire_lease(desk.store, "p")
    next_lease = desk.hold("p", "b")
    storage.gate.set()
    publisher.close()

    assert desk.leases.held == {next_lease}  # the attempt that ended has not dropped it
    assert (desk.store.get("p").owner, desk.store.get("p").attempt) == ("b", 2)
    assert files(tmp_path) == []
    desk.publish(next_lease)
    desk.publisher.close()
    desk.leases.close()
    assert desk.store.get("p").status is Status.SUCCEEDED
    assert files(tmp_path) == ["p/b/0.png"]


def test_hung_put_is_retried_and_fails_prediction(connection, tmp_path):
    """A put that does not end within the limit of the storage is retried. Then the prediction fails with the reason, retryable."""
    storage = SlowStorage(tmp_path)
    desk = Desk(connection, tmp_path)
    publisher = Publisher(
        desk.store, TimeLimitedStorage(storage, limit_s=0.01), desk.leases, pause_s=0.001
    )
    publisher.publish(desk.claim(), a_result())
    publisher.close()
    failure = desk.store.get("p").failure
    storage.gate.set()

    assert failure is not None
    assert (failure.cause, failure.is_retryable) == (Cause.STORAGE, True)
    assert failure.message == "could not store p/a/0.png: the storage did not answer within 0.01 s"


def test_retries_end_with_publishing_limit(connection, tmp_path):
    """A failing put is not retried after the time limit of the result."""
    desk = Desk(connection, tmp_path)
    desk.storage.failures = STORE_ATTEMPTS
    publisher = Publisher(desk.store, desk.storage, desk.leases, pause_s=60, publish_s=50)
    publisher.publish(desk.claim(), a_result())
    publisher.close()

    assert desk.store.get("p").status is Status.FAILED
    assert desk.storage.puts == 1


def test_full_backlog_blocks_engine(connection, tmp_path):
    """A limited number of results waits for a slow storage. One more blocks until there is room, and all are published."""
    storage = SlowStorage(tmp_path)
    store = a_store(connection)
    publisher = Publisher(store, storage, Leases(store))
    claimed = []
    for number in range(BACKLOG + 1):
        store.add(a_prediction(str(number)))
        prediction = store.change(str(number), lambda p, now: p.claim("a", now))
        claimed.append(Lease(prediction=prediction, owner="a"))
    for lease in claimed[:-1]:
        publisher.publish(lease, a_result())
    last = threading.Thread(target=publisher.publish, args=(claimed[-1], a_result()))
    last.start()

    last.join(0.2)
    assert last.is_alive()
    storage.gate.set()
    last.join()
    publisher.close()
    eventually(
        lambda: all(store.get(lease.prediction.id).status is Status.SUCCEEDED for lease in claimed)
    )
