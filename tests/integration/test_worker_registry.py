"""The worker registry, as the api reads it from Redis."""

import time
from dataclasses import replace

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import Unavailable
from app.predictions.worker_registry import REMEMBERED_S, SEEN_S, WORKERS, Worker, WorkerRegistry
from tests.support.fakes import a_store
from worker.job.leases import Leases

DISTILLED = frozenset({CheckpointKind.DISTILLED})
BASE = frozenset({CheckpointKind.BASE})


def worker(name="w", checkpoint=CheckpointKind.BASE, age_s=0.0):
    return Worker(
        name=name,
        checkpoint=checkpoint,
        weights=f"weights of {name}",
        revision="1",
        seen_at=time.time() - age_s,
    )


def test_a_ready_worker_is_present(connection):
    """Readers get what a worker announced."""
    announced = worker()
    WorkerRegistry(connection).announce(announced)
    registry = WorkerRegistry(connection)

    assert registry.present() == [announced]
    assert registry.served() == BASE
    assert registry.weights_of(CheckpointKind.BASE) == "weights of w"
    assert registry.weights_of(CheckpointKind.DISTILLED) is None


def test_a_silent_worker_is_gone_but_what_it_served_is_listed(connection):
    """After SEEN_S a silent worker is not present. Its models stay listed, but not its weights."""
    registry = WorkerRegistry(connection)
    registry.announce(worker(age_s=SEEN_S + 1))

    assert registry.present() == []
    assert registry.served() == BASE
    assert registry.weights_of(CheckpointKind.BASE) is None


def test_only_workers_that_are_present_count_while_there_are_any(connection):
    """While a worker is present, the checkpoint of one that left is not served."""
    registry = WorkerRegistry(connection)
    registry.announce(worker("old", CheckpointKind.BASE, SEEN_S + 1))
    registry.announce(worker("new", CheckpointKind.DISTILLED))

    assert registry.served() == DISTILLED


def test_before_any_worker_the_distilled_models_are_served(connection):
    """A fresh server lists the distilled models and queues predictions for them."""
    assert WorkerRegistry(connection).served() == DISTILLED


def test_old_announcements_are_forgotten(connection):
    """Announcements that are a day old are deleted, and no others."""
    registry = WorkerRegistry(connection)
    registry.announce(worker("old", age_s=REMEMBERED_S + 1))
    registry.announce(worker("left", age_s=REMEMBERED_S - 60))

    assert connection.hkeys(WORKERS) == [b"left"]


def test_the_registry_is_read_at_most_twice_a_second(connection):
    """Between two reads a process uses its cached list."""
    registry = WorkerRegistry(connection)
    assert registry.present() == []
    registry.announce(replace(worker(), name="new"))

    assert registry.present() == []


def test_without_redis_nobody_knows(tmp_path):
    """Each operation raises Unavailable."""
    nowhere = redis.Redis(unix_socket_path=str(tmp_path / "none"), retry=Retry(NoBackoff(), 0))
    for act in (
        WorkerRegistry(nowhere).present,
        lambda: WorkerRegistry(nowhere).announce(worker()),
    ):
        with pytest.raises(Unavailable):
            act()


@pytest.mark.parametrize("wrong_by_s", [-3600, 3600])
def test_a_workers_clock_may_be_wrong(connection, monkeypatch, wrong_by_s):
    """A worker whose clock is an hour off is present while it announces itself, and gone when it leaves."""
    real = time.time
    leases = Leases(a_store(connection), WorkerRegistry(connection))
    with monkeypatch.context() as wrong:
        wrong.setattr(time, "time", lambda: real() + wrong_by_s)
        leases.announce(worker())
    registry = WorkerRegistry(connection)
    assert [w.name for w in registry.present()] == ["w"]
    with monkeypatch.context() as wrong:
        wrong.setattr(time, "time", lambda: real() + wrong_by_s)
        leases.announce(None)

    assert WorkerRegistry(connection).present() == []
