"""The figures of the whole system, counted from a real Redis."""

import time
from datetime import UTC, datetime, timedelta

from app.predictions.backlog import Backlog
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.ledger import Ledger
from app.predictions.place import Places
from app.predictions.queue import Queues
from app.predictions.stats import collect_stats
from app.predictions.worker_registry import Worker, WorkerRegistry
from tests.support.fakes import a_prediction, a_store


def test_idle_system_has_zero_counts(connection):
    """Without predictions and workers every count is zero."""
    store, queues, registry = a_store(connection), Queues(connection), WorkerRegistry(connection)
    places = Places(connection, queues, registry, Backlog(store))
    stats = collect_stats(store, queues, registry, Ledger(connection), places)

    assert (stats.running, stats.webhooks, stats.overdue, stats.workers) == (0, 0, 0, [])
    assert {(line.count, line.oldest) for line in stats.waiting.values()} == {(0, timedelta())}


def test_waiting_and_running_predictions_are_counted(connection):
    """Two predictions wait, the first for a minute, one is running, and one worker is present."""
    store, queues, registry = a_store(connection), Queues(connection), WorkerRegistry(connection)
    now = datetime.now(UTC)
    for name, age_s in (("c", 0), ("a", 60), ("b", 30)):
        store.add(a_prediction(name, created_at=now - timedelta(seconds=age_s)))
    queues.take(CheckpointKind.DISTILLED)
    store.change("c", lambda p, at: p.claim("owner", at))
    worker = Worker(
        name="w",
        checkpoint=CheckpointKind.DISTILLED,
        weights="some",
        revision="1",
        seen_at=time.time(),
    )
    registry.announce(worker)

    places = Places(connection, queues, registry, Backlog(store))
    stats = collect_stats(store, queues, registry, Ledger(connection), places)

    line = stats.waiting[CheckpointKind.DISTILLED]
    assert (line.count, stats.running, stats.workers) == (2, 1, [worker])
    assert timedelta(seconds=59) < line.oldest < timedelta(seconds=120)
