"""Learns from recent predictions how long one takes, by the work in it. Does no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations
from statistics import median

from app.predictions.catalog import parameters_of
from app.predictions.prediction import Prediction

SAMPLES = 40  # recent successes of one checkpoint kind
_ENCODE_AND_DECODE_STEPS = 1  # what encoding and decoding cost, in denoising steps
_SIDE = 1024  # px; an edit without a size takes that of an image which the record does not know


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A success: the work in it, how long it took, and how long it kept an engine."""

    work: float
    run_s: float  # from the claim to the end
    engine_s: float  # its share of its batch

    def encode(self) -> str:
        """Write the sample for Redis."""
        return f"{self.work:.9g} {self.run_s:.9g} {self.engine_s:.9g}"


def decode_sample(text: bytes) -> Sample:
    """Read a sample from Redis."""
    work, run_s, engine_s = map(float, text.split())
    return Sample(work=work, run_s=run_s, engine_s=engine_s)


def work_of(prediction: Prediction) -> float:
    """Return the megapixels that a prediction denoises, reference images included, times its steps, for all images."""
    parameters = parameters_of(prediction)
    pixels = (parameters.width or _SIDE) * (parameters.height or _SIDE)
    megapixels = pixels * (1 + len(prediction.reference_keys)) / 1e6
    return megapixels * (parameters.steps + _ENCODE_AND_DECODE_STEPS) * len(parameters.seeds)


def sample_of(prediction: Prediction) -> Sample:
    """Return the sample of a success."""
    run_s = prediction.run_time.total_seconds()
    timings = prediction.timings
    engine_s = run_s if timings is None else timings.engine_ms / timings.batch / 1000
    return Sample(work=work_of(prediction), run_s=run_s, engine_s=engine_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """A fixed time for each prediction, and a time for each unit of work."""

    base_s: float
    per_work_s: float

    def time(self, work: float) -> timedelta:
        """Return how long this work takes."""
        return timedelta(seconds=self.base_s + self.per_work_s * work)


def fit(points: Sequence[tuple[float, float]]) -> Speed | None:
    """Fit a speed to pairs of work and seconds: the median of all slopes, so that single slow ones do not count.

    None without points. Where the work is all the same, or the slope makes no sense, time is proportional to work.
    """
    if not points:
        return None
    slopes = [
        (seconds - other_seconds) / (work - other_work)
        for (work, seconds), (other_work, other_seconds) in combinations(points, 2)
        if abs(work - other_work) > 1e-3 * max(work, other_work)
    ]
    if slopes and (slope := median(slopes)) > 0:
        base_s = median(seconds - slope * work for work, seconds in points)
        if base_s >= 0:
            return Speed(base_s=base_s, per_work_s=slope)
    return Speed(base_s=0.0, per_work_s=median(seconds / work for work, seconds in points))
