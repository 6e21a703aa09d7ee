"""Knows the unfinished predictions: those that a recent look at Redis found, and what this process heard since."""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from app.cached import Cached
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.prediction import Prediction, Status
from app.predictions.queue import kind_of
from app.predictions.speed import Speed, decode_sample, learn, work_of
from app.predictions.store import Store

T = TypeVar("T")
LOOKED_AT = 50  # predictions of a checkpoint kind that wait, and that run
LOOK_S = 1.0  # shortest time between two looks
LEARN_S = 1.0  # shortest time between two fits of the speed, which take longer than a look
NEW_PART = 1 / 8  # of the samples: so many are new before a fit
LEARN_LATEST_S = 10.0  # from then on a single new one is enough
MAX_ENDS = 1000  # that this process heard of


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The unfinished predictions of one checkpoint kind."""

    speed: Speed | None = None
    waiting: Sequence[Prediction] = ()  # the first ones, in the order in which they are taken
    count: int = 0  # of all that wait
    running: Sequence[Prediction] = ()
    _times: dict[str, float] = field(default_factory=dict)  # of engines, by prediction id

    def before(self, prediction: Prediction, ahead: int) -> "Line":
        """Return the line that `ahead` others form before a prediction. Those that must have been taken since now run."""
        ids = [other.id for other in self.waiting]
        is_here = prediction.id in ids
        waiting = self.waiting[: ids.index(prediction.id)] if is_here else self.waiting
        running = [other for other in self.running if other.id != prediction.id]
        if not is_here and any(other.key_id != prediction.key_id for other in waiting):
            taken = 0  # API keys take turns, so that it comes before some of those
        else:
            taken = max(0, len(waiting) - ahead)
        return replace(
            self,
            waiting=waiting[taken : taken + ahead],
            count=ahead,
            running=[*running, *waiting[:taken]],
        )

    def engine_time(self, prediction: Prediction) -> float:
        """Estimate the seconds for which a prediction keeps an engine. 0 if nothing is known."""
        if self.speed is None:
            return 0.0
        if (known_s := self._times.get(prediction.id)) is None:
            known_s = self._times[prediction.id] = self.speed.engine_time_s(work_of(prediction))
        return known_s

    def engine_times(self) -> list[float]:
        """Return the engine times of those that wait. Those that are not known take the mean of recent ones."""
        known = [self.engine_time(prediction) for prediction in self.waiting[: self.count]]
        typical_s = self.speed.typical_s if self.speed else 0.0
        return known + [typical_s] * (self.count - len(known))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """The speed of a checkpoint kind, and what it was learned from."""

    speed: Speed
    samples: frozenset[bytes]
    made_s: float  # on the monotonic clock

    def is_due(self, samples: Sequence[bytes], now_s: float) -> bool:
        """Return whether enough samples are new for another fit."""
        age_s = now_s - self.made_s
        if age_s < LEARN_S:
            return False
        new = sum(sample not in self.samples for sample in samples)
        return new >= NEW_PART * len(samples) or (new > 0 and age_s >= LEARN_LATEST_S)


class Backlog:
    """The lines of all checkpoint kinds. Any number of threads may use it."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._accepted: OrderedDict[str, Prediction] = OrderedDict()  # since the last look
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._last_end: float | None = None  # on the monotonic clock
        self._fits: dict[CheckpointKind, _Fit] = {}
        self._looks = {
            kind: Cached(partial(self._look, kind), LOOK_S, clock) for kind in CheckpointKind
        }

    def accept(self, prediction: Prediction) -> None:
        """Add a prediction that this process accepted."""
        _remember(self._accepted, prediction.id, prediction, LOOKED_AT)

    def end(self, prediction_id: str) -> None:
        """Remove a prediction that has ended, whichever process accepted it."""
        self._last_end = self._clock()
        _remember(self._ended, prediction_id, None, MAX_ENDS)

    @property
    def last_end_age_s(self) -> float | None:
        """The time since this process last heard of an end. None: it did not."""
        return None if self._last_end is None else self._clock() - self._last_end

    def is_fresh(self, kind: CheckpointKind) -> bool:
        """Return whether `line` will return without a look at Redis for SOON_S."""
        return self._looks[kind].is_fresh

    def line(self, kind: CheckpointKind) -> Line:
        """Return the line of a checkpoint kind. Raises Unavailable."""
        look = self._looks[kind].get()
        known = {prediction.id for prediction in (*look.waiting, *look.running)}
        accepted = [
            prediction
            for prediction in list(self._accepted.values())
            if kind_of(prediction) is kind and prediction.id not in known
        ]
        return replace(
            look,
            waiting=[p for p in (*look.waiting, *accepted) if p.id not in self._ended],
            count=look.count + len(accepted),
            running=[p for p in look.running if p.id not in self._ended],
        )

    def _look(self, kind: CheckpointKind) -> Line:
        before = [p.id for p in list(self._accepted.values()) if kind_of(p) is kind]
        samples, waiting, count, checked_soon = self._store.read_outlook(kind, LOOKED_AT)
        for prediction_id in before:
            self._accepted.pop(prediction_id, None)
        ids = {prediction.id for prediction in waiting} if count <= LOOKED_AT else None
        running = [
            prediction
            for prediction in checked_soon
            if kind_of(prediction) is kind and _runs(prediction, ids)
        ]
        speed = self._learn(kind, samples)
        return Line(speed=speed, waiting=waiting, count=count, running=running)

    def _learn(self, kind: CheckpointKind, samples: Sequence[bytes]) -> Speed | None:
        """Return the speed of a checkpoint kind by recent samples. It is fitted again once enough of them are new."""
        now_s, fit = self._clock(), self._fits.get(kind)
        if fit is not None and not fit.is_due(samples, now_s):
            return fit.speed
        speed = learn([decode_sample(sample) for sample in samples])
        if speed is not None:
            self._fits[kind] = _Fit(speed=speed, samples=frozenset(samples), made_s=now_s)
        return speed


def _runs(prediction: Prediction, waiting: set[str] | None) -> bool:
    """Return whether a prediction runs, or was taken to run. `waiting` has the ids of all that wait, if they are known."""
    if prediction.status is Status.QUEUED:
        was_taken = waiting is not None and prediction.id not in waiting
        return was_taken and prediction.not_before is None
    return prediction.status is Status.RUNNING


def _remember(memory: OrderedDict[str, T], key: str, value: T, limit: int) -> None:
    memory[key] = value
    while len(memory) > limit:
        memory.popitem(last=False)
