"""Keeps the registry of workers: each announces its checkpoint, which decides what the api offers."""

import time
from dataclasses import dataclass
from typing import cast

import redis

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.clock import Clock
from app.predictions.redis_errors import redis_errors
from app.records import Records

WORKERS = "klein:workers"
SEEN_S = 15.0  # a worker without a newer announcement is gone
REMEMBERED_S = 86_400.0  # its models stay listed for a day, so that a restart shows no gap
_CACHE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """The announcement of a ready worker."""

    name: str
    checkpoint: CheckpointKind
    weights: str  # the name of the weights
    revision: str
    seen_at: float  # unix seconds, by Redis's clock


_RECORDS = Records(Worker)


class WorkerRegistry:
    """Reads and writes the announcements; each process reads at most twice a second."""

    def __init__(self, connection: "redis.Redis") -> None:
        self._redis = connection
        self._clock = Clock(connection)
        self._read_at = 0.0
        self._workers: list[Worker] = []

    def now(self) -> float:
        """Return the time that dates announcements. Raises Unavailable."""
        return self._clock.now().timestamp()

    def announce(self, worker: Worker) -> None:
        """Announce a ready worker, and delete announcements older than a day.

        A worker that shuts down sends a `seen_at` of long ago.
        """
        with redis_errors():
            self._redis.hset(WORKERS, worker.name, _RECORDS.write(worker))
            for other in self._all():
                if other.seen_at < self.now() - REMEMBERED_S:
                    self._redis.hdel(WORKERS, other.name)

    def present(self) -> list[Worker]:
        """List the workers that can take a prediction now."""
        return [w for w in self._cached() if w.seen_at > self.now() - SEEN_S]

    def served(self) -> frozenset[CheckpointKind]:
        """Return the checkpoint kinds served now, else those served last, else distilled."""
        workers = self.present() or self._cached()
        return frozenset(w.checkpoint for w in workers) or frozenset({CheckpointKind.DISTILLED})

    def weights_of(self, kind: CheckpointKind) -> str | None:
        """Return the name of the weights that serve a kind; None without a ready worker."""
        return next((w.weights for w in self.present() if w.checkpoint is kind), None)

    def _cached(self) -> list[Worker]:
        if time.monotonic() - self._read_at > _CACHE_S:
            self._workers = self._all()
            self._read_at = time.monotonic()
        return self._workers

    def _all(self) -> list[Worker]:
        with redis_errors():
            announcements = cast("dict[bytes, bytes]", self._redis.hgetall(WORKERS))
        return [_RECORDS.read(announcement) for announcement in announcements.values()]
