"""How long predictions take, learned from recent ones."""

from dataclasses import replace
from datetime import timedelta

import pytest

from app.predictions.speed import Sample, decode_sample, fit, sample_of, work_of
from app.predictions.timings import Timings
from tests.support.fakes import NOW, a_prediction


def test_base_and_slope_are_found():
    """From mixed work the fixed time and the time for each unit of work are found, despite one slow run."""
    speed = fit([(work, 1 + 0.5 * work) for work in (1, 2, 5, 8, 12)] + [(3, 60)])

    assert speed is not None
    assert speed.base_s == pytest.approx(1, abs=0.2)
    assert speed.time(10).total_seconds() == pytest.approx(6, rel=0.05)


@pytest.mark.parametrize(
    "points",
    [[(2, 4)], [(2, 4), (2, 4.2), (2, 3.8)], [(2, 4), (4, 3)]],
    ids=["one", "equal", "odd"],
)
def test_without_a_slope_time_is_proportional(points):
    """Where nothing tells a fixed time from work, twice the work takes about twice as long."""
    speed = fit(points)

    assert speed is not None
    assert speed.time(4) == 2 * speed.time(2)
    assert speed.base_s == 0


def test_without_samples_nothing_is_known():
    """Nothing is estimated from nothing."""
    assert fit([]) is None


def test_work_counts_pixels_steps_images_and_references():
    """Twice the images, or one reference image, is twice the work, and more steps are more."""
    text = a_prediction(input={"prompt": "x", "seed": 1, "image_size": "square"})
    assert text.parameters is not None
    several = replace(text, parameters=replace(text.parameters, seeds=(1, 2)))
    longer = replace(text, parameters=replace(text.parameters, steps=2 * text.parameters.steps))
    edit = replace(text, reference_keys=("p/in-0.png",))

    assert work_of(several) == work_of(edit) == 2 * work_of(text)
    assert work_of(text) < work_of(longer) < 2 * work_of(text)


def test_sample_survives_redis():
    """A sample has the share of its batch, and reads as it was written."""
    timings = Timings(encoded_ms=100, denoised_ms=800, decoded_ms=100, written_ms=50, batch=4)
    after = NOW + timedelta(seconds=2)
    ended = a_prediction().claim("a", NOW).succeed("a", (), (), after, timings)
    sample = sample_of(ended)

    assert sample == Sample(work=work_of(ended), run_s=2.0, engine_s=0.25)
    assert decode_sample(sample.encode().encode()).run_s == 2.0
