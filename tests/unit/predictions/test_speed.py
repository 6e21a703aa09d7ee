"""How long predictions take, learned from recent ones."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest

from app.predictions.speed import Sample, Work, decode_sample, learn, sample_of, work_of
from app.predictions.timings import Timings
from tests.support.fakes import NOW, a_prediction


def a_work(images=1, steps=4, megapixels=1.0, references=0):
    return Work(images=images, steps=steps, megapixels=megapixels, references=references)


def seconds(work):
    """How long an engine takes that reads references once, and has costs for each image and step."""
    pixels = work.megapixels * (1 + work.references)
    each = work.images * (0.3 + 0.1 * work.steps + 0.2 * work.steps * pixels)
    return 0.5 + 0.2 * work.references + each


def samples_of(works, factor=1.0):
    return tuple(
        Sample(work=work, engine_s=factor * seconds(work), run_s=factor * seconds(work) + 0.2)
        for work in works
    )


MIXED = [
    a_work(images, steps, megapixels, references)
    for images in (1, 3)
    for steps in (1, 4, 8)
    for megapixels in (0.25, 1)
    for references in (0, 2)
]


@pytest.mark.parametrize("outlier_s", [0.1, 60], ids=["short", "long"])
def test_costs_are_learned_from_mixed_work(outlier_s):
    """From mixed work the costs are learned, despite one sample that is far off."""
    outlier = Sample(work=a_work(), engine_s=outlier_s, run_s=outlier_s)
    speed = learn((*samples_of(MIXED[:12]), outlier, *samples_of(MIXED[12:])))

    assert speed is not None
    for work in (a_work(), a_work(images=2, steps=6), a_work(references=1, megapixels=0.5)):
        assert speed.engine_time_s(work) == pytest.approx(seconds(work), rel=0.1)
        assert speed.run_time_s(work) == pytest.approx(seconds(work) + 0.2, rel=0.1)


def test_no_cost_is_negative():
    """Chance does not make more work shorter, where the size of an image hardly counts."""
    chance = random.Random(2)
    samples = tuple(
        Sample(work=work, engine_s=s, run_s=s)
        for work in MIXED
        if (s := 0.1 * work.images * work.steps * chance.uniform(0.5, 1.5))
    )
    speed = learn(samples)

    assert speed is not None
    assert min(speed.engine_s) >= 0
    assert speed.engine_time_s(a_work(megapixels=16)) >= speed.engine_time_s(a_work())


def test_newer_samples_count_more():
    """After a change of speed the estimate follows within the number of samples that are kept."""
    speed = learn((*samples_of(MIXED, factor=2), *samples_of(MIXED)))

    assert speed is not None
    assert speed.engine_time_s(a_work()) > 1.5 * seconds(a_work())


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_equal_samples_scale_with_the_work(count):
    """Where nothing tells one cost from another, the work that is known takes as long, and more work longer."""
    speed = learn(samples_of([a_work()] * count))

    assert speed is not None
    assert speed.engine_time_s(a_work()) == pytest.approx(seconds(a_work()), rel=0.02)
    more = (a_work(images=2), a_work(steps=8), a_work(megapixels=2), a_work(references=1))
    assert all(speed.engine_time_s(work) > 1.3 * seconds(a_work()) for work in more)


def test_instant_samples_do_no_harm():
    """Samples of no duration are possible where the clock stood still."""
    speed = learn(tuple(replace(s, engine_s=0.0, run_s=0.0) for s in samples_of(MIXED)))

    assert speed is not None
    assert speed.engine_time_s(a_work()) == pytest.approx(0)


def test_without_samples_nothing_is_known():
    """Nothing is estimated from nothing."""
    assert learn(()) is None


def test_work_is_read_from_the_prediction():
    """Images, steps, size and references count. Guidance doubles the steps, and a low strength leaves some out."""
    text = a_prediction(input={"prompt": "x", "seed": 1, "image_size": "square"})
    parameters = text.parameters
    assert parameters is not None
    several = replace(text, parameters=replace(parameters, seeds=(1, 2)))
    guided = replace(text, parameters=replace(parameters, guidance=5.0))
    weak = replace(text, parameters=replace(parameters, strength=0.5))
    edit = replace(text, reference_keys=("p/in-0.png",))
    work = work_of(text)

    assert work == a_work(steps=parameters.steps, megapixels=512 * 512 / 1e6)
    assert work_of(several) == replace(work, images=2)
    assert work_of(guided) == replace(work, steps=2 * work.steps)
    assert work_of(weak) == replace(work, steps=work.steps // 2)
    assert work_of(edit) == replace(work, references=1)


def test_sample_survives_redis():
    """A sample has its share of the batch and leaves out the wait for the engine, and reads as it was written."""
    timings = Timings(
        claimed_ms=500, encoded_ms=100, denoised_ms=800, decoded_ms=100, written_ms=50, batch=4
    )
    after = NOW + timedelta(seconds=2)
    ended = a_prediction().claim("a", NOW).succeed("a", (), (), after, timings)
    sample = sample_of(ended)

    assert sample == Sample(work=work_of(ended), engine_s=0.25, run_s=1.5)
    assert decode_sample(sample.encode().encode()) == sample
