"""Keeps the registry of workers: each announces its checkpoint, which decides what the api offers.

Redis keys: `klein:workers` the announcements by name · `klein:worker:command:{name}` what an operator asks of a worker.
"""

import time
from collections.abc import Awaitable
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

import redis
import redis.asyncio

from app.cached import SOON_S
from app.loras.transformer import TransformerSize
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.clock import Clock
from app.predictions.redis_errors import redis_errors
from app.records import Records

WORKERS = "klein:workers"
SEEN_S = 15.0  # a worker without a newer announcement is gone
REMEMBERED_S = 86_400.0  # its models stay listed for a day, so that a restart shows no gap
DEPARTED_S = 3600.0
COMMAND_KEPT_S = 60  # a worker takes it with its next heartbeat, unless it is gone
_CACHE_S = 1.0


class WorkerState(StrEnum):
    """What the engine of a registered worker does."""

    READY = "ready"
    ASLEEP = "asleep"  # its process was ended because it had no work; the next prediction starts it
    LOADING = "loading"  # its process starts again


class WorkerCommand(StrEnum):
    """What an operator asks of a worker."""

    UNLOAD = "unload"
    LOAD = "load"


class Departure(StrEnum):
    """Why a worker ended by itself."""

    CRASH_LOOP = "crash_loop"  # its engine died again and again
    WEIGHTS = "weights"  # they can no longer be served
    CANARY = "canary"  # its engine no longer generates the image of its start


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """The announcement of a worker that takes predictions, whether its engine is loaded or asleep.

    A worker with several checkpoints has one for each.
    """

    name: str  # of the entry
    checkpoint: CheckpointKind
    weights: str  # the name of the weights
    revision: str
    seen_at: float  # unix seconds, by Redis's clock
    transformer: TransformerSize | None = None  # None means a worker of klein 0.1
    has_lora_folder: bool = True
    state: WorkerState = WorkerState.READY
    state_since: float = 0.0  # unix seconds, by Redis's clock
    start_s: float = 0.0  # how long the last start of its engine took
    image_at: float | None = None  # unix seconds, by Redis's clock: its last image, a canary too
    departure: Departure | None = None  # set after it ended by itself
    process: str = ""  # what the entries of one worker share, which has several checkpoints
    turn_s: float = 0.0  # how long loaded checkpoints keep that worker while others have work

    @property
    def process_name(self) -> str:
        """Return the same name for all entries of one worker."""
        return self.process or self.name

    def image_age_s(self, now: float) -> float | None:
        """Return the seconds since its last image. None if there was none. `now` is in Unix seconds."""
        return None if self.image_at is None else round(max(0.0, now - self.image_at), 1)


_RECORDS = Records(Worker)


class WorkerRegistry:
    """Reads and writes the announcements. Each process reads at most once a second."""

    def __init__(self, connection: "redis.Redis", clock: Clock | None = None) -> None:
        self._redis = connection
        self._clock = clock or Clock(connection)
        self._read_at = 0.0
        self._workers: list[Worker] = []

    def now(self) -> float:
        """Return the time that dates announcements. Raises Unavailable."""
        return self._clock.now().timestamp()

    def announce(self, *workers: Worker) -> None:
        """Announce ready workers at once, and delete announcements older than a day.

        A worker that shuts down sends a `seen_at` of long ago.
        """
        with redis_errors():
            pairs = [part for w in workers for part in (w.name, _RECORDS.write(w))]
            if pairs:
                self._redis.hset(WORKERS, items=pairs)
            for other in _RECORDS.read_each(self._announcements().values()):
                if other.seen_at < self.now() - REMEMBERED_S:
                    self._redis.hdel(WORKERS, other.name)

    def send(self, name: str, command: WorkerCommand) -> None:
        """Ask a worker to do this with its next heartbeat. A newer command replaces it. Raises Unavailable."""
        with redis_errors():
            self._redis.set(_command_key(name), command, ex=COMMAND_KEPT_S)

    def take_command(self, name: str) -> WorkerCommand | None:
        """Return what an operator asks of this worker, once, or None for a command that this version does not know. Raises Unavailable."""
        with redis_errors():
            command = cast("bytes | None", self._redis.getdel(_command_key(name)))
        return next((known for known in WorkerCommand if known.encode() == command), None)

    def present(self) -> list[Worker]:
        """List the workers that can take a prediction now."""
        return [w for w in self._cached() if w.seen_at > self.now() - SEEN_S]

    def departed(self) -> list[Worker]:
        """List the workers that ended by themselves in the last hour. Raises Unavailable."""
        since = self.now() - DEPARTED_S
        return [w for w in self._cached() if w.departure and w.seen_at > since]

    @property
    def is_fresh(self) -> bool:
        """Return whether it will list workers without a read for SOON_S, if its clock does not read either."""
        return time.monotonic() - self._read_at < _CACHE_S - SOON_S

    async def refresh(self, shared: "redis.asyncio.Redis") -> None:
        """Read the announcements if `served` would, on an event loop. Raises Unavailable."""
        if not self.is_fresh:
            with redis_errors():
                self._keep(await cast("Awaitable[dict[bytes, bytes]]", shared.hgetall(WORKERS)))

    def served(self) -> frozenset[CheckpointKind]:
        """Return the checkpoint kinds served now, else those served last, else distilled."""
        workers = self.present() or self._cached()
        return frozenset(w.checkpoint for w in workers) or frozenset({CheckpointKind.DISTILLED})

    def weights_of(self, kind: CheckpointKind) -> str | None:
        """Return the name of the weights that serve a kind, or None without a ready worker."""
        return next((w.weights for w in self.present() if w.checkpoint is kind), None)

    def _cached(self) -> list[Worker]:
        if time.monotonic() - self._read_at > _CACHE_S:
            self._keep(self._announcements())
        return self._workers

    def _keep(self, announcements: dict[bytes, bytes]) -> None:
        self._workers = list(_RECORDS.read_each(announcements.values()))
        self._read_at = time.monotonic()

    def _announcements(self) -> dict[bytes, bytes]:
        with redis_errors():
            return cast("dict[bytes, bytes]", self._redis.hgetall(WORKERS))


def _command_key(name: str) -> str:
    return f"klein:worker:command:{name}"
