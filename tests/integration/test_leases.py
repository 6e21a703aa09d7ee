"""The heartbeat: held leases are renewed, lost ones are dropped, and the registry knows which workers are ready."""

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.prediction import LEASE
from app.predictions.worker_registry import Worker, WorkerRegistry
from tests.support.fakes import a_prediction, a_store, eventually, expire_lease
from worker.job.leases import Leases

WORKER = Worker(
    name="w", checkpoint=CheckpointKind.DISTILLED, weights="built-in", revision="1", seen_at=0
)


@pytest.fixture
def store(connection):
    return a_store(connection)


@pytest.fixture
def leases(connection, store):
    leases = Leases(store, WorkerRegistry(connection), beat_s=0.01)
    yield leases
    leases.close()


def claim(store, owner="a"):
    return store.change("p", lambda p, now: p.claim(owner, now))


def test_what_is_held_is_renewed(store, leases):
    """A lease is renewed again and again while its prediction is held."""
    store.add(a_prediction())
    claimed = claim(store)
    leases.hold("p", "a")
    leases.start()
    for _ in range(2):
        expire_lease(store, "p")
        eventually(lambda: store.get("p").lease_until > claimed.lease_until)

    assert store.get("p").lease_until <= claimed.lease_until + LEASE


def test_what_was_dropped_is_renewed_no_more(connection, store, leases):
    """After a drop the lease expires although the heartbeat continues."""
    store.add(a_prediction())
    claim(store)
    leases.hold("p", "a")
    leases.drop("p")
    leases.drop("p")  # dropping twice is not an error
    leases.start()
    leases.announce(WORKER)
    expire_lease(store, "p")
    before = store.get("p")

    def seen_at():
        return WorkerRegistry(connection).present()[0].seen_at  # a new one reads anew

    seen = seen_at()
    eventually(lambda: seen_at() > seen)

    assert store.get("p") == before


@pytest.mark.parametrize("prediction_id", ["p", "nobody"])
def test_what_was_lost_is_let_go(store, leases, prediction_id):
    """The lease of a prediction that is final or unknown is not renewed again."""
    store.add(a_prediction())
    claim(store)
    store.change("p", lambda p, now: p.cancel(now))
    leases.hold(prediction_id, "a")
    leases.start()

    eventually(lambda: leases.held == {})


def test_a_loss_lets_go_of_no_later_attempt(store, leases):
    """Losing an old attempt does not end the renewals of the next attempt in the same worker."""
    store.add(a_prediction())
    claim(store, "b")
    leases.hold("p", "b")
    leases.renew("p", "a")

    assert leases.held == {"p": "b"}


def test_the_heart_beats_on_without_redis(tmp_path):
    """An outage neither ends the heartbeat nor drops a lease."""
    nowhere = redis.Redis(unix_socket_path=str(tmp_path / "none"), retry=Retry(NoBackoff(), 0))
    leases = Leases(a_store(nowhere), WorkerRegistry(nowhere), beat_s=0.001)
    leases.hold("p", "a")
    leases.announce(WORKER)
    leases.start()
    leases.renew("p", "a")

    assert leases.is_beating
    assert leases.held == {"p": "a"}
    leases.close()


def test_a_worker_is_present_until_it_leaves(connection, leases):
    """An announced worker is listed as ready. One that is not ready, or closed, is not."""
    leases.announce(WORKER)
    assert [w.name for w in WorkerRegistry(connection).present()] == ["w"]
    leases.announce(None)
    assert WorkerRegistry(connection).present() == []
    leases.announce(WORKER)
    leases.start()
    leases.close()

    assert WorkerRegistry(connection).present() == []


def test_leases_that_never_beat_can_be_closed(connection, store):
    """Closing leases before the first heartbeat, as after failed loading, raises nothing."""
    Leases(store, WorkerRegistry(connection)).close()
