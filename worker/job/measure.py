"""Measures the stages of an attempt in the engine, from the times of its steps. Does no I/O."""

from collections.abc import Sequence

from app.predictions.timings import Timings


def measure_engine(  # noqa: PLR0913 -- keyword-only
    *,
    claimed_s: float,
    began_s: float,
    step_times: Sequence[float],
    steps_per_image: int,
    ended_s: float,
    batch: int = 1,
) -> Timings:
    """Divide the time from the claim to the images into stages. All times are of one monotonic clock.

    A step is reported at its end. The first step of an image counts as long as the mean of its others, because what
    precedes it belongs to the stage before. An image of one step has no others, and then that step has all before it.
    """
    denoised_s, first_began_s = 0.0, None
    for start in range(0, len(step_times), steps_per_image):
        times = step_times[start : start + steps_per_image]
        before_s = step_times[start - 1] if start else began_s
        count = len(times) - 1
        step_s = (times[-1] - times[0]) / count if count else times[0] - before_s
        step_began_s = max(before_s, times[0] - step_s)
        denoised_s += times[-1] - step_began_s
        first_began_s = step_began_s if first_began_s is None else first_began_s
    encoded_s = 0.0 if first_began_s is None else first_began_s - began_s
    return Timings(
        claimed_ms=_ms(began_s - claimed_s),
        encoded_ms=_ms(encoded_s),
        denoised_ms=_ms(denoised_s),
        decoded_ms=_ms(ended_s - began_s - encoded_s - denoised_s),
        batch=batch,
        steps=len(step_times),
    )


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))
