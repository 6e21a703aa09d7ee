"""Finds the place of a prediction in the queue, and estimates when it starts and ends."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import redis

from app.predictions.backlog import LOOK_S, Backlog, Line
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.clock import Clock
from app.predictions.prediction import Prediction, Status
from app.predictions.queue import Queues, kind_of
from app.predictions.redis_errors import redis_errors
from app.predictions.schedule import (
    NOTICED_S,
    ModelState,
    ScheduledWorker,
    estimate_start,
    run_all,
)
from app.predictions.speed import work_of
from app.predictions.worker_registry import Worker, WorkerRegistry, WorkerState


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place of a prediction that waits or runs."""

    ahead: int | None  # predictions that start before it; None once it runs
    expected_wait: timedelta | None  # until it starts; None means unknown, or it runs
    expected_end: timedelta | None  # from now; None means unknown


class Places:
    """Finds the places of predictions in their queues."""

    def __init__(
        self,
        connection: "redis.Redis",
        queues: Queues,
        registry: WorkerRegistry,
        backlog: Backlog,
        clock: Clock | None = None,
    ) -> None:
        self._queues = queues
        self._registry = registry
        self._backlog = backlog
        self._clock = clock or Clock(connection)

    def find(self, prediction: Prediction) -> Place | None:
        """Return the place of a prediction, or None if it neither waits in line nor runs. Raises Unavailable."""
        if prediction.status is Status.RUNNING and prediction.started_at is not None:
            return Place(ahead=None, expected_wait=None, expected_end=self._rest(prediction))
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

    def is_fresh_for(self, prediction: Prediction) -> bool:
        """Return whether `place_behind` will return without a read from Redis for SOON_S."""
        if not (self._registry.is_fresh and self._clock.is_fresh):
            return False
        kinds = {kind_of(prediction), *(worker.checkpoint for worker in self._registry.present())}
        return all(self._backlog.is_fresh(kind) for kind in kinds)

    def place_behind(self, ahead: int, prediction: Prediction) -> Place:
        """Return the place of a prediction that waits behind `ahead` others. Raises Unavailable."""
        kind = kind_of(prediction)
        line = self._backlog.line(kind).before(prediction, ahead)
        if line.speed is None or (wait_s := self._wait_s(kind, line, prediction)) is None:
            return Place(ahead=ahead, expected_wait=None, expected_end=None)
        run_s = line.speed.run_time_s(work_of(prediction))
        return Place(
            ahead=ahead,
            expected_wait=timedelta(seconds=wait_s),
            expected_end=timedelta(seconds=wait_s + run_s),
        )

    def wait_at_end(self, kind: CheckpointKind) -> timedelta | None:
        """Estimate how long the last one in line waits for a worker of a checkpoint kind. Raises Unavailable."""
        line = self._backlog.line(kind)
        wait_s = None if line.speed is None else self._wait_s(kind, line)
        return None if wait_s is None else timedelta(seconds=wait_s)

    def _rest(self, prediction: Prediction) -> timedelta | None:
        """Estimate how long a prediction runs on, from its begin or the estimated end of its engine's start."""
        speed = self._backlog.line(kind_of(prediction)).speed
        start = prediction.engine_start
        began_at = (start and start.ready_at) or prediction.started_at
        if speed is None or began_at is None:
            return None
        run = timedelta(seconds=speed.run_time_s(work_of(prediction)))
        return max(timedelta(), began_at + run - self._clock.now())

    def _wait_s(
        self, kind: CheckpointKind, line: Line, prediction: Prediction | None = None
    ) -> float | None:
        """Estimate the wait behind a line, and behind the other models of its workers."""
        now = self._clock.now()
        entries = self._registry.present()
        names = {entry.process_name for entry in entries if entry.checkpoint is kind}
        entries = [entry for entry in entries if entry.process_name in names]
        others = {entry.checkpoint for entry in entries} - {kind}
        lines = {other: self._backlog.line(other) for other in others} | {kind: line}
        workers = schedule_workers(entries, now.timestamp())
        run_all(workers, sorted(self._running(lines.values(), now)))
        since = {}
        for other, its_line in lines.items():
            first = next(iter(its_line.waiting), prediction if other is kind else None)
            if first or its_line.count or other is kind:
                created_at = first.created_at if first else now
                since[other] = NOTICED_S - max(0.0, (now - created_at).total_seconds())
        return estimate_start(
            kind, {k: its_line.engine_times() for k, its_line in lines.items()}, workers, since
        )

    def _running(
        self, lines: Iterable[Line], now: datetime
    ) -> Iterator[tuple[float, CheckpointKind, float]]:
        """Yield when each prediction began that runs, in seconds from now, its model and its engine time."""
        age_s = self._backlog.last_end_age_s
        taken_at = -min(LOOK_S, LOOK_S if age_s is None else age_s)  # of those not claimed yet
        for line in lines:
            for prediction in line.running:
                at = prediction.started_at or prediction.created_at
                began_at = (at - now).total_seconds()
                if prediction.started_at is None:
                    began_at = max(began_at, taken_at)
                yield began_at, kind_of(prediction), line.engine_time(prediction)


def schedule_workers(entries: Iterable[Worker], now: float) -> list[ScheduledWorker]:
    """Return the workers as their entries describe them. `now` is in Unix seconds."""
    workers: dict[str, ScheduledWorker] = {}
    for entry in sorted(entries, key=lambda entry: entry.image_at or 0.0):
        worker = workers.setdefault(entry.process_name, ScheduledWorker())
        is_asleep = entry.state is WorkerState.ASLEEP
        worker.turn_s = entry.turn_s
        worker.models[entry.checkpoint] = ModelState(
            start_s=entry.start_s, loaded_at=None if is_asleep else entry.state_since - now
        )
        if entry.state is WorkerState.LOADING:
            worker.free_at = max(worker.free_at, entry.state_since + entry.start_s - now)
    return list(workers.values())
