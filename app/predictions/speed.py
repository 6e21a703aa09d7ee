"""Learns from recent predictions how long one takes, by what it generates. Does no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul, sub
from statistics import median

from app.predictions.catalog import parameters_of
from app.predictions.checkpoint_kind import UNGUIDED
from app.predictions.prediction import Prediction

SAMPLES = 40  # recent successes of one checkpoint kind
_SIDE = 1024  # px; an edit without a size takes that of an image which the record does not know
_DECAY = 0.95  # the weight of a sample, by that of the next newer one
_OUTLIER = 0.5  # relative error from which on a sample loses weight
_LEAST_S = 1e-3  # shorter times count as this
_PASSES = 3  # each gives the samples new weights
_SWEEPS = 30  # over the costs, at most, in each pass
_SETTLED = 1e-9  # of the largest cost: a sweep that changes no cost by more is the last one


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What decides how long a prediction takes."""

    images: int
    steps: int  # passes of the transformer for one image
    megapixels: float  # of one image
    references: int

    @property
    def amounts(self) -> tuple[float, ...]:
        """Return the amounts that have a cost each. The first one alone is a fair guess."""
        steps = self.images * self.steps
        pixel_steps = self.megapixels * (1 + self.references) * (steps + self.images)
        return (
            pixel_steps,
            1.0,
            self.images,
            steps,
            self.references,
            self.references * steps,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A success: the work in it, how long it kept an engine from the next prediction, and how long it took from then on."""

    work: Work
    engine_s: float  # its share of its batch
    run_s: float  # from the begin of the engine to the end

    def encode(self) -> str:
        """Write the sample for Redis."""
        work = self.work
        numbers = work.images, work.steps, work.megapixels, work.references
        return " ".join(f"{number:.9g}" for number in (*numbers, self.engine_s, self.run_s))


def decode_sample(text: bytes) -> Sample:
    """Read a sample from Redis."""
    images, steps, megapixels, references, engine_s, run_s = map(float, text.split())
    work = Work(
        images=int(images), steps=int(steps), megapixels=megapixels, references=int(references)
    )
    return Sample(work=work, engine_s=engine_s, run_s=run_s)


def work_of(prediction: Prediction) -> Work:
    """Return the work in a prediction."""
    parameters = parameters_of(prediction)
    passes = 2 if parameters.guidance > UNGUIDED else 1
    return Work(
        images=len(parameters.seeds),
        steps=max(1, round(parameters.steps * parameters.strength)) * passes,
        megapixels=(parameters.width or _SIDE) * (parameters.height or _SIDE) / 1e6,
        references=len(prediction.reference_keys),
    )


def sample_of(prediction: Prediction) -> Sample:
    """Return the sample of a success."""
    work, run_s = work_of(prediction), prediction.run_time.total_seconds()
    if (timings := prediction.timings) is None:
        return Sample(work=work, engine_s=run_s, run_s=run_s)
    return Sample(
        work=work,
        engine_s=timings.engine_ms / timings.batch / 1000,
        run_s=max(timings.engine_ms / 1000, run_s - timings.claimed_ms / 1000),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """What the amounts of a prediction's work cost."""

    engine_s: tuple[float, ...]
    run_s: tuple[float, ...]
    typical_s: float  # how long recent ones kept an engine, on average

    def engine_time_s(self, work: Work) -> float:
        """Estimate how long this work keeps an engine from the next prediction."""
        return _dot(self.engine_s, work.amounts)

    def run_time_s(self, work: Work) -> float:
        """Estimate the time from the begin of the engine to the end."""
        return _dot(self.run_s, work.amounts)


def learn(samples: Sequence[Sample]) -> Speed | None:
    """Learn from samples, the newest first. None without any."""
    if not samples:
        return None
    works = [sample.work for sample in samples]
    return Speed(
        engine_s=fit(works, [sample.engine_s for sample in samples]),
        run_s=fit(works, [sample.run_s for sample in samples]),
        typical_s=sum(sample.engine_s for sample in samples) / len(samples),
    )


def fit(works: Sequence[Work], seconds: Sequence[float]) -> tuple[float, ...]:
    """Fit the costs of the amounts, none of them negative, to the seconds that works took, the newest first.

    The error counts as a share of the estimate, so that short and long ones count the same and their sum has no bias.
    Samples lose weight with age, and if they are far off (Huber's weights). Equal works make one row.
    """
    rows = {work: number for number, work in enumerate(dict.fromkeys(works))}
    samples = [
        (rows[work], s, _DECAY**age)
        for age, (work, s) in enumerate(zip(works, seconds, strict=True))
    ]
    amounts = [work.amounts for work in rows]
    units = [max(column) or 1.0 for column in zip(*amounts, strict=True)]
    scaled = [[a / unit for a, unit in zip(row, units, strict=True)] for row in amounts]
    middle = max(median(seconds), _LEAST_S)
    weights = [age / (s + middle) ** 2 for _, s, age in samples]
    costs: list[float] = []
    for _ in range(_PASSES):
        row_weights, row_seconds = [0.0] * len(rows), [0.0] * len(rows)
        for (row, s, _age), weight in zip(samples, weights, strict=True):
            row_weights[row] += weight
            row_seconds[row] += weight * s
        costs = _least_squares(scaled, row_weights, row_seconds)
        estimates = [max(_dot(costs, row), _LEAST_S) for row in scaled]
        weights = [
            age / e**2 * min(1.0, _OUTLIER / max(abs(e - s) / e, 1e-9))
            for row, s, age in samples
            for e in (estimates[row],)
        ]
    return tuple(cost / unit for cost, unit in zip(costs, units, strict=True))


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return float(sum(map(mul, one, other)))


def _least_squares(
    rows: Sequence[Sequence[float]], weights: Sequence[float], targets: Sequence[float]
) -> list[float]:
    """Solve least squares without negative values, by coordinate descent. The targets are multiplied by the weights already.

    What equal rows leave open is given to the first values.
    """
    columns = list(zip(*rows, strict=True))
    weighted = [list(map(mul, weights, column)) for column in columns]
    matrix = [[_dot(one, other) for other in columns] for one in weighted]
    right = [_dot(column, targets) for column in columns]
    values = [0.0] * len(columns)
    used = [(k, row, row[k], right[k]) for k, row in enumerate(matrix) if row[k]]
    for _ in range(_SWEEPS):
        before = values.copy()
        for k, row, own, target in used:
            value = values[k] + (target - sum(map(mul, row, values))) / own
            values[k] = max(0.0, value)
        if max(map(abs, map(sub, values, before))) <= _SETTLED * max(values):
            break
    return values
