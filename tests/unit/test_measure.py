"""How the worker divides the time of an attempt into stages."""

import pytest

from app.predictions.timings import Timings
from worker.job.measure import measure_engine
from worker.job.stopwatch import Stopwatch


def measured(step_times, steps_per_image):
    return measure_engine(
        claimed_s=9.0,
        began_s=10.0,
        step_times=step_times,
        steps_per_image=steps_per_image,
        ended_s=20.0,
    )


def test_first_step_counts_as_the_others():
    """Three steps end at 13, 14 and 15 s, so the first began at 12 s: what precedes it is encoding."""
    assert measured([13.0, 14.0, 15.0], 3) == Timings(
        claimed_ms=1000, encoded_ms=2000, denoised_ms=3000, decoded_ms=5000, steps=3
    )


def test_decoding_between_images_is_no_denoising():
    """Of two images, the time between the steps of both is the decoding of the first one."""
    assert measured([12.0, 13.0, 17.0, 18.0], 2) == Timings(
        claimed_ms=1000, encoded_ms=1000, denoised_ms=4000, decoded_ms=5000, steps=4
    )


@pytest.mark.parametrize(
    ("step_times", "steps", "denoised_ms"),
    [([12.0], 1, 2000), ([], 4, 0), ([10.1, 15.0], 2, 5000)],
    ids=["one step", "no step", "a first step that was shorter"],
)
def test_stages_never_take_more_than_the_engine(step_times, steps, denoised_ms):
    """Whatever steps were reported, the stages add up to the time of the engine."""
    timings = measured(step_times, steps)

    assert timings.denoised_ms == denoised_ms
    assert timings.encoded_ms + timings.denoised_ms + timings.decoded_ms == 10_000


def test_stopwatch_tells_storing_from_writing():
    """The time inside its body is storing, and the rest since the images were there is writing."""
    times = iter([0.0, 1.0, 3.0, 4.0, 9.0, 10.0])
    stopwatch = Stopwatch(Timings(denoised_ms=7), clock=lambda: next(times))
    for _ in range(2):
        with stopwatch:
            pass

    assert stopwatch.stop() == Timings(denoised_ms=7, written_ms=3000, stored_ms=7000)
