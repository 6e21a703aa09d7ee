"""Collects the state of the whole system from Redis, for `/v1/status` and metrics."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import UnknownPrediction
from app.predictions.queue import Queues
from app.predictions.redis_errors import redis_errors
from app.predictions.store import Store
from app.predictions.worker_registry import Worker, WorkerRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The predictions that wait for one checkpoint kind."""

    count: int
    oldest: timedelta  # how long the oldest has waited


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemStats:
    """The state of the system."""

    waiting: dict[CheckpointKind, Waiting]
    running: int
    workers: list[Worker]
    webhooks: int  # not yet delivered


def collect_stats(store: Store, queues: Queues, registry: WorkerRegistry) -> SystemStats:
    """Collect the stats. Raises Unavailable."""
    waiting = {kind: _waiting(store, queues, kind) for kind in CheckpointKind}
    queued = sum(line.count for line in waiting.values())
    return SystemStats(
        waiting=waiting,
        running=max(0, store.count_open() - queued),
        workers=registry.present(),
        webhooks=store.count_webhooks(),
    )


def _waiting(store: Store, queues: Queues, kind: CheckpointKind) -> Waiting:
    with redis_errors():
        count, oldest = queues.length(kind), queues.oldest(kind)
    if oldest is None:
        return Waiting(count=count, oldest=timedelta())
    try:
        since = store.get(oldest).created_at
    except UnknownPrediction:  # it ended meanwhile
        return Waiting(count=count, oldest=timedelta())
    return Waiting(count=count, oldest=max(timedelta(), datetime.now(UTC) - since))
