"""The worker registry, as the api reads it from Redis."""

import time
from dataclasses import replace

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import Unavailable
from app.predictions.worker_registry import (
    REMEMBERED_S,
    SEEN_S,
    WORKERS,
    Worker,
    WorkerCommand,
    WorkerRegistry,
    WorkerState,
)
from worker.job.registration import Registrations

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


def test_ready_worker_is_present(connection):
    """Readers get what a worker announced."""
    announced = worker()
    WorkerRegistry(connection).announce(announced)
    registry = WorkerRegistry(connection)

    assert registry.present() == [announced]
    assert registry.served() == BASE
    assert registry.weights_of(CheckpointKind.BASE) == "weights of w"
    assert registry.weights_of(CheckpointKind.DISTILLED) is None


def test_silent_worker_is_absent_but_its_models_are_listed(connection):
    """After SEEN_S a silent worker is not present. Its models stay listed, but not its weights."""
    registry = WorkerRegistry(connection)
    registry.announce(worker(age_s=SEEN_S + 1))

    assert registry.present() == []
    assert registry.served() == BASE
    assert registry.weights_of(CheckpointKind.BASE) is None


def test_absent_workers_do_not_count_beside_present_ones(connection):
    """While a worker is present, the checkpoint of one that left is not served."""
    registry = WorkerRegistry(connection)
    registry.announce(worker("old", CheckpointKind.BASE, SEEN_S + 1))
    registry.announce(worker("new", CheckpointKind.DISTILLED))

    assert registry.served() == DISTILLED


def test_distilled_models_are_served_before_first_worker(connection):
    """A fresh server lists the distilled models and queues predictions for them."""
    assert WorkerRegistry(connection).served() == DISTILLED


def test_old_announcements_are_deleted(connection):
    """Announcements that are a day old are deleted, and no others."""
    registry = WorkerRegistry(connection)
    registry.announce(worker("old", age_s=REMEMBERED_S + 1))
    registry.announce(worker("left", age_s=REMEMBERED_S - 60))

    assert connection.hkeys(WORKERS) == [b"left"]


def test_registry_is_read_at_most_twice_a_second(connection):
    """Between two reads a process uses its cached list."""
    registry = WorkerRegistry(connection)
    assert registry.present() == []
    registry.announce(replace(worker(), name="new"))

    assert registry.present() == []


def test_redis_outage_raises_unavailable(tmp_path):
    """Each operation raises Unavailable."""
    nowhere = redis.Redis(unix_socket_path=str(tmp_path / "none"), retry=Retry(NoBackoff(), 0))
    for act in (
        WorkerRegistry(nowhere).present,
        lambda: WorkerRegistry(nowhere).announce(worker()),
    ):
        with pytest.raises(Unavailable):
            act()


@pytest.mark.parametrize("wrong_by_s", [-3600, 3600])
def test_clock_of_worker_does_not_matter(connection, monkeypatch, wrong_by_s):
    """A worker whose clock is an hour off is present while it announces itself, and gone when it leaves."""
    real = time.time
    registration = Registrations(WorkerRegistry(connection)).add()
    with monkeypatch.context() as wrong:
        wrong.setattr(time, "time", lambda: real() + wrong_by_s)
        registration.announce(worker())
    registry = WorkerRegistry(connection)
    assert [w.name for w in registry.present()] == ["w"]
    with monkeypatch.context() as wrong:
        wrong.setattr(time, "time", lambda: real() + wrong_by_s)
        registration.announce(None)

    assert WorkerRegistry(connection).present() == []


def test_worker_that_is_asleep_is_present(connection):
    """A worker that is asleep counts as ready, and its models stay listed."""
    asleep = replace(worker(), state=WorkerState.ASLEEP, start_s=40)
    WorkerRegistry(connection).announce(asleep)
    registry = WorkerRegistry(connection)

    assert registry.present() == [asleep]
    assert registry.weights_of(CheckpointKind.BASE) == "weights of w"


def test_command_reaches_its_worker_once(connection):
    """A worker takes the newest command for it once. One that nobody takes does not stay."""
    registry = WorkerRegistry(connection)
    registry.send("w", WorkerCommand.LOAD)
    registry.send("w", WorkerCommand.UNLOAD)
    registry.send("gone", WorkerCommand.LOAD)

    assert registry.take_command("other") is None
    assert registry.take_command("w") is WorkerCommand.UNLOAD
    assert registry.take_command("w") is None
    assert 0 < connection.ttl("klein:worker:command:gone") <= 60


def test_unknown_command_is_ignored(connection):
    """A command of a newer klein, or damage, is no error: the heartbeat reads it."""
    connection.set("klein:worker:command:w", b"\xff dance")

    assert WorkerRegistry(connection).take_command("w") is None
    assert not connection.exists("klein:worker:command:w")


def test_models_of_worker_are_announced_at_once(connection):
    """Entries that are held until the release appear together, whatever heartbeats come before."""
    registrations = Registrations(WorkerRegistry(connection), is_held=True)
    for name in ("w-a", "w-b"):
        registrations.add().announce(replace(worker(), name=name, seen_at=0))
    registrations.beat()
    assert WorkerRegistry(connection).present() == []
    connection.config_resetstat()
    registrations.release()

    assert connection.info("commandstats")["cmdstat_hset"]["calls"] == 1
    assert {w.name for w in WorkerRegistry(connection).present()} == {"w-a", "w-b"}
