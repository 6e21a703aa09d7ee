"""Estimates when a worker begins a prediction, by taking what waits in the order in which workers take it. Does no I/O.

All times are in seconds from now.
"""

import heapq
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from app.predictions.checkpoint_kind import CheckpointKind

PATIENCE_S = 1.0
"""How long a worker leaves a token to others that have its model loaded. It looks for such tokens as often."""
NOTICED_S = PATIENCE_S * 1.5  # when a worker without other work takes such a token, on average
BLOCKS = 50  # longer queues are divided into so many equal parts


def order_models(
    loaded_at: Mapping[CheckpointKind, float],
    others: Sequence[CheckpointKind],
    now: float,
    turn_s: float,
) -> list[CheckpointKind]:
    """Return the models of a worker whose tokens it takes, the first one first.

    Loaded models, the least recently used first, come before `others` that wait for their turn. Once the last of them was
    loaded `turn_s` ago, they come after them.
    """
    is_turn_over = bool(loaded_at) and now - max(loaded_at.values()) >= turn_s
    return [*others, *loaded_at] if is_turn_over else [*loaded_at, *others]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelState:
    """A model of a worker."""

    start_s: float  # how long its engine takes to start
    loaded_at: float | None  # None: not loaded


@dataclass(slots=True, kw_only=True)
class ScheduledWorker:
    """A worker, as the schedule changes it."""

    free_at: float = -math.inf
    models: dict[CheckpointKind, ModelState] = field(default_factory=dict)
    """The least recently used first."""
    turn_s: float = 0.0  # how long loaded models keep it while others have work

    def next_kind(
        self, waiting: AbstractSet[CheckpointKind], since: Mapping[CheckpointKind, float]
    ) -> CheckpointKind | None:
        """Return the model whose prediction it takes next. `since` says from when on it takes those of models that are not loaded."""
        if len(self.models) == 1:  # the usual worker: what follows takes ten times as long
            ((kind, model),) = self.models.items()
            is_taken = model.loaded_at is not None or self.free_at >= since.get(kind, math.inf)
            return kind if is_taken and kind in waiting else None
        loaded = {k: m.loaded_at for k, m in self.models.items() if m.loaded_at is not None}
        others = sorted(
            (k for k in self.models if k not in loaded and self.free_at >= since.get(k, math.inf)),
            key=lambda k: since[k],
        )
        order = order_models(loaded, others, self.free_at, self.turn_s)
        return next((kind for kind in order if kind in waiting), None)

    def is_ready_for_only(self, kind: CheckpointKind) -> bool:
        """Return whether this model is loaded, and the only one."""
        return self.models.keys() == {kind} and self.models[kind].loaded_at is not None

    def use(self, kind: CheckpointKind) -> None:
        """Note the use of a model. One that is not loaded is loaded first, in place of the others."""
        model = self.models.pop(kind)
        if model.loaded_at is None:
            self.free_at += model.start_s
            model = ModelState(start_s=model.start_s, loaded_at=self.free_at)
            for other, state in self.models.items():
                self.models[other] = ModelState(start_s=state.start_s, loaded_at=None)
        self.models[kind] = model


def run_all(
    workers: Sequence[ScheduledWorker], running: Iterable[tuple[float, CheckpointKind, float]]
) -> None:
    """Give the workers what runs, the first one first: when each began, its model and its engine time."""
    for began_at, kind, engine_s in running:
        serving = [worker for worker in workers if kind in worker.models]
        if serving:
            worker = min(serving, key=lambda worker: worker.free_at)
            worker.free_at = max(worker.free_at, began_at)
            worker.use(kind)
            worker.free_at += engine_s
    for worker in workers:
        worker.free_at = max(0.0, worker.free_at)


def estimate_start(
    kind: CheckpointKind,
    queues: Mapping[CheckpointKind, Sequence[float]],
    workers: Sequence[ScheduledWorker],
    since: Mapping[CheckpointKind, float],
) -> float | None:
    """Return when a worker begins a prediction of a model; None if none serves it.

    `queues` has the engine times of what waits: those before it, and all of other models. `since` is when a worker takes
    the first of each model's if that is not loaded.
    """
    if len(workers) == 1 and workers[0].is_ready_for_only(kind):  # it takes one after the other
        return workers[0].free_at + sum(queues.get(kind, ()))
    part = math.ceil(max(map(len, queues.values()), default=0) / BLOCKS)
    blocks = {
        other: deque(sum(times[k : k + part]) for k in range(0, len(times), part))
        for other, times in queues.items()
        if times
    }
    heap = [(worker.free_at, number) for number, worker in enumerate(workers)]
    heapq.heapify(heap)
    waiting = {kind, *blocks}
    while heap:
        _, number = heapq.heappop(heap)
        worker = workers[number]
        if (chosen := worker.next_kind(waiting, since)) is None:
            later = [at for k, at in since.items() if k in worker.models and at > worker.free_at]
            if not later:
                continue  # it has no work for this
            worker.free_at = min(later)
        else:
            worker.use(chosen)
            if not (times := blocks.get(chosen)):
                return worker.free_at
            worker.free_at += times.popleft()
            if not times and chosen is not kind:
                waiting.remove(chosen)
        heapq.heappush(heap, (worker.free_at, number))
    return None
