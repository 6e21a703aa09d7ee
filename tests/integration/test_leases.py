"""The heartbeat: held leases are renewed, lost ones are dropped, and the registry knows which workers are ready."""

from dataclasses import replace
from threading import Semaphore

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.connections import COMMAND_S
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.prediction import LEASE, Status
from app.predictions.worker_registry import Worker, WorkerCommand, WorkerRegistry, WorkerState
from tests.support.fakes import a_prediction, a_store, eventually, expire_lease
from worker.job.attempt import Attempt
from worker.job.attempt_records import AttemptRecords
from worker.job.leases import BEAT_S, Lease, Leases, LeaseStage
from worker.job.registration import Registrations

WORKER = Worker(
    name="w", checkpoint=CheckpointKind.DISTILLED, weights="built-in", revision="1", seen_at=0
)


@pytest.fixture
def store(connection):
    return a_store(connection)


@pytest.fixture
def leases(connection, store):
    leases = Leases(store, beat_s=0.01)
    yield leases
    leases.close()


@pytest.fixture
def registrations(connection):
    return Registrations(WorkerRegistry(connection))


def claim(store, owner="a"):
    """Claim the prediction and return its lease."""
    prediction = store.change("p", lambda p, now: p.claim(owner, now))
    return Lease(prediction=prediction, owner=owner)


def test_held_lease_is_renewed(store, leases):
    """A lease is renewed again and again while its prediction is held."""
    store.add(a_prediction())
    lease = claim(store)
    claimed = lease.prediction
    leases.hold(lease)
    leases.start()
    for _ in range(2):
        expire_lease(store, "p")
        eventually(lambda: store.get("p").lease_until > claimed.lease_until)

    assert store.get("p").lease_until <= claimed.lease_until + LEASE


def test_dropped_lease_is_not_renewed(store):
    """After a drop the lease expires although the heartbeat continues."""
    beats = Semaphore(0)
    leases = Leases(store, beat_s=0.01, on_beat=beats.release)
    store.add(a_prediction())
    lease = claim(store)
    leases.hold(lease)
    leases.drop(lease)
    leases.drop(lease)  # dropping twice is not an error
    expire_lease(store, "p")
    before = store.get("p")
    leases.start()
    assert beats.acquire(timeout=30)
    leases.close()

    assert store.get("p") == before


@pytest.mark.parametrize("prediction_id", ["p", "nobody"])
def test_lost_lease_is_dropped(store, leases, prediction_id):
    """The lease of a prediction that is final or unknown is not renewed again."""
    store.add(a_prediction())
    claim(store)
    store.change("p", lambda p, now: p.cancel(now))
    leases.hold(Lease(prediction=a_prediction(prediction_id), owner="a"))
    leases.start()

    eventually(lambda: leases.held == frozenset())


def test_lost_lease_does_not_drop_later_attempt(store, leases):
    """Losing an old attempt does not end the renewals of the next attempt in the same worker."""
    store.add(a_prediction())
    first = claim(store, "a")
    leases.hold(first)
    expire_lease(store, "p")
    second = claim(store, "b")
    leases.hold(second)
    leases.renew(first)
    leases.drop(first)
    leases.release(first)

    assert leases.held == {second}
    assert store.get("p").owner == "b"


def test_lease_is_not_renewed_after_deadline_of_its_stage(store, leases):
    """An attempt that takes longer than its stage may loses its lease, although its owner has not dropped it."""
    store.add(a_prediction())
    lease = claim(store)
    leases.hold(lease)
    lease.begin(LeaseStage.GENERATING, 60)
    leases.renew(lease)
    renewed = store.get("p")
    lease.begin(LeaseStage.PUBLISHING, 0)
    leases.renew(lease)

    assert renewed.lease_until > lease.prediction.lease_until
    assert store.get("p") == renewed
    assert leases.held == frozenset()


def test_stored_step_renews_lease(store):
    """A step renews the lease, and the heartbeat that follows at once changes nothing. A later heartbeat renews it."""
    store.add(a_prediction())
    lease = claim(store)
    expire_lease(store, "p")
    AttemptRecords(store).advance(Attempt(lease=lease, recorded_s=float("-inf")), 1, 4)
    stepped = store.get("p")
    assert (stepped.step, stepped.lease_until > lease.prediction.lease_until) == (1, True)
    expire_lease(store, "p")
    expired = store.get("p")
    Leases(store).renew(lease)
    assert store.get("p") == expired
    Leases(store, beat_s=0).renew(lease)

    assert store.get("p").lease_until > expired.lease_until


def test_step_after_deadline_of_its_stage_does_not_renew_lease(store):
    """A step that comes after the deadline of its stage is stored, and the lease expires nevertheless."""
    store.add(a_prediction())
    lease = claim(store)
    lease.begin(LeaseStage.GENERATING, 0)
    AttemptRecords(store).advance(Attempt(lease=lease, recorded_s=float("-inf")), 1, 4)

    assert store.get("p") == replace(lease.prediction, step=1, steps=4)


def test_lease_outlives_missed_heartbeats():
    """A lease is long enough for two missed heartbeats, and for one that waits for Redis as long as a command may, after one that a step
    made needless.
    """
    assert LEASE.total_seconds() > 3.5 * BEAT_S
    assert LEASE.total_seconds() > 1.5 * BEAT_S + COMMAND_S


def test_release_is_repeated_after_outage(tmp_path, store):
    """A lease that cannot be released while Redis is unavailable stays held, and the next release returns the prediction to the queue."""
    store.add(a_prediction())
    nowhere = redis.Redis(unix_socket_path=str(tmp_path / "none"), retry=Retry(NoBackoff(), 0))
    lease = claim(store)
    leases = Leases(a_store(nowhere))
    leases.hold(lease)
    leases.release_all()
    held = leases.held
    working = Leases(store)
    working.hold(lease)
    working.release_all()

    assert held == {lease}
    assert working.held == frozenset()
    assert (store.get("p").status, store.get("p").attempt) == (Status.QUEUED, 0)


def test_heartbeat_survives_redis_outage(tmp_path):
    """An outage neither ends the heartbeat nor drops a lease."""
    nowhere = redis.Redis(unix_socket_path=str(tmp_path / "none"), retry=Retry(NoBackoff(), 0))
    registrations = Registrations(WorkerRegistry(nowhere))
    leases = Leases(a_store(nowhere), beat_s=0.001, on_beat=registrations.beat)
    lease = Lease(prediction=a_prediction(), owner="a")
    leases.hold(lease)
    registrations.add().announce(WORKER)
    leases.start()
    leases.renew(lease)

    assert leases.is_beating
    assert leases.held == {lease}
    leases.close()


def test_worker_is_registered_until_it_leaves(connection, registrations):
    """An announced worker is listed as ready. One that is not ready, or has left, is not."""
    registration = registrations.add()
    registration.announce(WORKER)
    assert [w.name for w in WorkerRegistry(connection).present()] == ["w"]
    registration.announce(None)
    assert WorkerRegistry(connection).present() == []
    registration.announce(WORKER)
    registrations.leave()

    assert WorkerRegistry(connection).present() == []


def test_leases_can_be_closed_before_start(store):
    """Closing leases before the first heartbeat, as after failed loading, raises nothing."""
    Leases(store).close()


def test_heartbeat_keeps_announced_state(connection, registrations):
    """The heartbeat repeats the state that was announced last, with the time of its beginning."""

    def entry():
        return WorkerRegistry(connection).present()[0]

    registration = registrations.add()
    registration.announce(WORKER)
    registration.announce(replace(WORKER, state=WorkerState.ASLEEP))
    first = entry()
    registrations.beat()
    assert entry().seen_at > first.seen_at

    assert (entry().state, entry().state_since) == (WorkerState.ASLEEP, first.state_since)
    assert first.state_since > 0


def test_heartbeat_takes_commands(connection, registrations):
    """A command of an operator reaches the worker with its next heartbeat, and only the model that it names."""
    received: list[WorkerCommand] = []
    others: list[WorkerCommand] = []
    registrations.add(received.append).announce(WORKER)
    registrations.add(others.append).announce(replace(WORKER, name="other"))
    WorkerRegistry(connection).send("w", WorkerCommand.UNLOAD)
    registrations.beat()

    assert (received, others) == ([WorkerCommand.UNLOAD], [])
