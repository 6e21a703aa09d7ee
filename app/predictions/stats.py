"""Collects the state of the whole system from Redis, for `/v1/status` and metrics."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import UnknownPrediction
from app.predictions.ledger import Ledger
from app.predictions.place import Places
from app.predictions.queue import Queues
from app.predictions.redis_errors import redis_errors
from app.predictions.store import Store
from app.predictions.worker_registry import Departure, Worker, WorkerRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The predictions that wait for one checkpoint kind."""

    count: int
    oldest: timedelta  # how long the oldest has waited
    expected_wait: timedelta | None = (
        None  # of one behind all of them; None means nothing to estimate it from
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemStats:
    """The state of the system."""

    waiting: dict[CheckpointKind, Waiting]
    running: int
    workers: list[Worker]
    webhooks: int  # not yet delivered
    overdue: int  # without an end, although their limits are over
    departed: Counter[Departure] = field(default_factory=Counter)  # in the last hour


def collect_stats(
    store: Store, queues: Queues, registry: WorkerRegistry, ledger: Ledger, places: Places
) -> SystemStats:
    """Collect the stats. Raises Unavailable."""
    waiting = {
        kind: replace(_waiting(store, queues, kind), expected_wait=places.wait_at_end(kind))
        for kind in CheckpointKind
    }
    queued = sum(line.count for line in waiting.values())
    return SystemStats(
        waiting=waiting,
        running=max(0, store.count_open() - queued),
        workers=registry.present(),
        webhooks=store.count_webhooks(),
        overdue=len(ledger.find_overdue()),
        departed=Counter(w.departure for w in registry.departed() if w.departure),
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
