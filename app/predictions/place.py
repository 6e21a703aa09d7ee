"""Finds the place of a prediction in the queue, and estimates when it starts and ends."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import redis

from app.cached import Cached
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.clock import Clock
from app.predictions.prediction import Prediction, Status
from app.predictions.queue import Queues, kind_of
from app.predictions.redis_errors import redis_errors
from app.predictions.speed import Speed, fit, work_of
from app.predictions.store import Store
from app.predictions.turn_delay import Neighbour, turn_delay
from app.predictions.worker_registry import Worker, WorkerRegistry, WorkerState

LOOKED_AT = 50  # waiting predictions whose work is read; those behind count as their mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place of a prediction that waits or runs."""

    ahead: int | None  # predictions that start before it; None once it runs
    expected_wait: timedelta | None  # until it starts; None: not known, or it runs
    expected_end: timedelta | None  # from now; None: not known


def estimate_start(workers: Iterable[Worker], now: float) -> timedelta:
    """Estimate the time until the engine of one of these workers is loaded, by its last start. `now` is in Unix seconds."""
    remaining_s = (
        {
            WorkerState.READY: 0.0,
            WorkerState.ASLEEP: worker.start_s,
            WorkerState.LOADING: max(0.0, worker.state_since + worker.start_s - now),
        }[worker.state]
        for worker in workers
    )
    return timedelta(seconds=min(remaining_s, default=0.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What the estimates for one checkpoint kind are made of."""

    workers: int
    run: Speed | None  # from the claim to the end
    engine: Speed | None  # how long a prediction keeps an engine from the next one
    works: tuple[float, ...]  # of those that would be taken next, in order
    typical: timedelta | None = None  # how long recent ones kept an engine, on average
    start: timedelta  # until an engine is loaded

    @property
    def queued(self) -> timedelta:
        """How long those that would be taken next keep each worker."""
        if self.engine is None or not self.workers:
            return timedelta()
        return sum(map(self.engine.time, self.works), timedelta()) / self.workers

    def wait_behind(
        self, ahead: int, own_work: float, running: int | None = None
    ) -> timedelta | None:
        """Estimate the wait behind `ahead` predictions, and those that run, which are half done on average.

        Without any ahead, and with fewer `running` than workers, one of these is free.
        """
        if self.engine is None or not self.workers:
            return None
        known = [self.engine.time(work) for work in self.works[:ahead]]
        if not ahead and running is not None and running < self.workers:
            return self.start
        mean = self.typical or self.engine.time(own_work)
        rest = mean * (ahead - len(known) + 0.5)
        return self.start + (sum(known, timedelta()) + rest) / self.workers


class Places:
    """Finds the places of predictions in their queues, from an outlook that is at most a second old."""

    def __init__(
        self, connection: "redis.Redis", store: Store, queues: Queues, registry: WorkerRegistry
    ) -> None:
        self._queues = queues
        self._store = store
        self._registry = registry
        self._clock = Clock(connection)
        self._outlooks = {kind: Cached(partial(self._look, kind)) for kind in CheckpointKind}

    def find(self, prediction: Prediction) -> Place | None:
        """Return the place of a prediction, or None if it neither waits in line nor runs. Raises Unavailable."""
        if prediction.status is Status.RUNNING and prediction.started_at is not None:
            start = prediction.engine_start
            began_at = (start and start.ready_at) or prediction.started_at
            run = self._run_time(prediction)
            end = run and max(timedelta(), began_at + run - self._clock.now())
            return Place(ahead=None, expected_wait=None, expected_end=end)
        if prediction.status is not Status.QUEUED:
            return None
        with redis_errors():
            ahead = self._queues.count_ahead(prediction)
        return None if ahead is None else self.place_behind(ahead, prediction)

    def find_for_new(self, prediction: Prediction) -> Place:
        """Return the place that a prediction would have if it was accepted now. Raises Unavailable."""
        with redis_errors():
            ahead = self._queues.count_ahead_of_new(prediction)
        return self.place_behind(ahead, prediction)

    def place_behind(self, ahead: int, prediction: Prediction, running: int | None = None) -> Place:
        """Return the place of a prediction that waits behind `ahead` others. `running`: how many run. Raises Unavailable."""
        wait = self._wait(kind_of(prediction), ahead, work_of(prediction), running)
        run = self._run_time(prediction)
        end = None if wait is None or run is None else wait + run
        return Place(ahead=ahead, expected_wait=wait, expected_end=end)

    def wait_at_end(self, kind: CheckpointKind) -> timedelta | None:
        """Estimate how long the last one in line waits for a worker of a checkpoint kind. Raises Unavailable."""
        outlook = self._outlooks[kind].get()
        with redis_errors():
            waiting = self._queues.length(kind)
        mean = sum(outlook.works) / len(outlook.works) if outlook.works else 1.0
        return self._wait(kind, waiting, mean)

    def _wait(
        self, kind: CheckpointKind, ahead: int, own_work: float, running: int | None = None
    ) -> timedelta | None:
        """Estimate the wait behind `ahead` predictions of a kind, and behind the other models of its workers."""
        wait = self._outlooks[kind].get().wait_behind(ahead, own_work, running)
        if wait is None:
            return None
        entries = self._registry.present()
        delays = [
            turn_delay(entry, self._neighbours(entry, entries), ahead, wait)
            for entry in entries
            if entry.checkpoint is kind
        ]
        return wait + min(delays, default=timedelta())

    def _neighbours(self, entry: Worker, entries: Sequence[Worker]) -> list[Neighbour]:
        return [
            Neighbour(entry=other, queued=self._outlooks[other.checkpoint].get().queued)
            for other in entries
            if other.process_name == entry.process_name and other.checkpoint is not entry.checkpoint
        ]

    def _run_time(self, prediction: Prediction) -> timedelta | None:
        run = self._outlooks[kind_of(prediction)].get().run
        return None if run is None else run.time(work_of(prediction))

    def _look(self, kind: CheckpointKind) -> Outlook:
        samples, waiting = self._store.read_outlook(kind, LOOKED_AT)
        workers = [worker for worker in self._registry.present() if worker.checkpoint is kind]
        return Outlook(
            workers=len(workers),
            start=estimate_start(workers, self._registry.now()),
            typical=_mean([sample.engine_s for sample in samples]),
            run=fit([(sample.work, sample.run_s) for sample in samples]),
            engine=fit([(sample.work, sample.engine_s) for sample in samples]),
            works=tuple(work_of(prediction) for prediction in waiting),
        )


def _mean(seconds: Sequence[float]) -> timedelta | None:
    return timedelta(seconds=sum(seconds) / len(seconds)) if seconds else None
