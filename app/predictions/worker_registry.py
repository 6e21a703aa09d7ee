"""Who is working: each worker announces what it holds, so that the api lists and routes by that."""

import time
from dataclasses import dataclass
from typing import cast

import redis

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.clock import Clock
from app.predictions.redis_errors import redis_errors
from app.records import Records

WORKERS = "klein:workers"
SEEN_S = 15.0  # an announcement older than this means the worker is gone
REMEMBERED_S = 86_400.0  # but what it served stays listed for a day, so that a restart shows no gap
_CACHE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker's announcement, made while it is ready."""

    name: str
    checkpoint: CheckpointKind
    weights: str  # what is being served, in words
    revision: str
    seen_at: float  # unix seconds, by Redis's clock


_RECORDS = Records(Worker)


class WorkerRegistry:
    """The announcements, read at most twice a second a process."""

    def __init__(self, connection: "redis.Redis") -> None:
        self._redis = connection
        self._clock = Clock(connection)
        self._read_at = 0.0
        self._workers: list[Worker] = []

    def now(self) -> float:
        """Tell the time by which announcements are dated. Raises Unavailable."""
        return self._clock.now().timestamp()

    def announce(self, worker: Worker) -> None:
        """Say that a worker is ready; one that leaves says so with a `seen_at` that is long ago.

        Announcements of a day ago are dropped on the way.
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
        """Tell which kinds of checkpoint are served: now, else before the workers left, else distilled."""
        workers = self.present() or self._cached()
        return frozenset(w.checkpoint for w in workers) or frozenset({CheckpointKind.DISTILLED})

    def weights_of(self, kind: CheckpointKind) -> str | None:
        """Say in words which weights serve this kind; None where no worker says so now."""
        return next((w.weights for w in self.present() if w.checkpoint is kind), None)

    def _cached(self) -> list[Worker]:
        if time.monotonic() - self._read_at > _CACHE_S:
            self._workers = self._all()
            self._read_at = time.monotonic()
        return self._workers

    def _all(self) -> list[Worker]:
        with redis_errors():
            found = cast("dict[bytes, bytes]", self._redis.hgetall(WORKERS))
        return [_RECORDS.read(announcement) for announcement in found.values()]
