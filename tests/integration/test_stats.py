"""The figures of the whole system, counted from a real Redis."""

import time
from datetime import UTC, datetime, timedelta

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.queue import Queues
from app.predictions.stats import collect_stats
from app.predictions.worker_registry import Worker, WorkerRegistry
from tests.support.fakes import a_prediction, a_store


def test_an_idle_system_counts_nothing(connection):
    """Without predictions and workers every count is zero."""
    stats = collect_stats(a_store(connection), Queues(connection), WorkerRegistry(connection))

    assert (stats.running, stats.webhooks, stats.workers) == (0, 0, [])
    assert {(line.count, line.oldest) for line in stats.waiting.values()} == {(0, timedelta())}


def test_waiting_and_running_predictions_are_told_apart(connection):
    """Two predictions wait, the first for a minute, one is running, and one worker is present."""
    store, queues, registry = a_store(connection), Queues(connection), WorkerRegistry(connection)
    now = datetime.now(UTC)
    for name, age_s in (("a", 60), ("b", 30), ("c", 0)):
        store.add(a_prediction(name, created_at=now - timedelta(seconds=age_s)))
    store.change("c", lambda p, at: p.claim("owner", at))
    running = store.get("c")
    connection.zrem("klein:line:distilled:key", running.id)  # as a worker does when it takes it
    worker = Worker(
        name="w",
        checkpoint=CheckpointKind.DISTILLED,
        weights="some",
        revision="1",
        seen_at=time.time(),
    )
    registry.announce(worker)

    stats = collect_stats(store, queues, registry)

    line = stats.waiting[CheckpointKind.DISTILLED]
    assert (line.count, stats.running, stats.workers) == (2, 1, [worker])
    assert timedelta(seconds=59) < line.oldest < timedelta(seconds=120)
