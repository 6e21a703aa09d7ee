"""The canary: when it is due, and how much it may differ from the first one."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.support.fake_engine_process import FakeEngine
from worker.engine_client.canary import MAX_LOAD, Canary, compare, least_db
from worker.engines import Cancelled, Result

CPU = FakeEngine.checkpoint
GPU = replace(CPU, device="cuda:0 (NVIDIA H100)")


class Clock:
    now_s = 100.0

    def __call__(self):
        return self.now_s


def grey(level=128):
    return np.full((256, 256, 3), level, np.uint8)


def generating(image):
    return lambda _order: Result(images=(image,), notes=(), generate_s=0.1)


def changed(image, pixels):
    """Copy an image with this many pixels inverted."""
    copy = image.copy()
    copy.reshape(-1, 3)[:pixels] ^= 255
    return copy


def test_single_bit_is_noticed_on_cpu():
    """On a CPU one changed bit is a difference."""
    image = grey()
    image[7, 9, 1] ^= 1

    assert compare(grey(), grey(), least_db(CPU)) is None
    assert "no pixel may differ" in str(compare(grey(), image, least_db(CPU)))


def test_noise_is_allowed_on_gpu():
    """On a GPU noise of a few levels is allowed, and a damaged part of the image is not."""
    noise = np.random.default_rng(1).integers(-3, 4, (256, 256, 3))
    noisy = (grey().astype(int) + noise).astype(np.uint8)
    bright = grey(200)

    assert compare(grey(), noisy, least_db(GPU)) is None
    assert compare(bright, changed(bright, 1000), least_db(GPU)) is not None
    assert compare(grey(), np.zeros_like(grey()), least_db(GPU)) is not None


def test_size_is_compared():
    """An image of another size is a difference."""
    assert compare(grey(), grey()[:128], 0.0) is not None


def test_first_canary_is_kept():
    """Later canaries are compared with the first one, not with the one before."""
    canary = Canary(600, Clock())

    assert canary.check(generating(grey()), CPU) is None
    assert canary.check(generating(grey()), CPU) is None
    assert canary.check(generating(grey(129)), CPU) is not None
    assert canary.check(generating(grey(129)), CPU) is not None


@pytest.mark.parametrize("other", [replace(CPU, revision="other"), GPU], ids=["weights", "device"])
def test_other_model_has_its_own_canary(other):
    """Other weights or another device start with a canary of their own."""
    canary = Canary(600, Clock())
    canary.check(generating(grey()), CPU)

    assert canary.check(generating(grey(0)), other) is None
    assert canary.check(generating(grey(255)), other) is not None


def test_canary_is_due_at_start_and_at_interval():
    """It is due at the start, and after each interval. Without an interval it never is."""
    clock = Clock()
    canary = Canary(600, clock)
    assert canary.is_due
    canary.check(generating(grey()), CPU)
    due = []
    for seconds in (0, 599, 1):
        clock.now_s += seconds
        due.append(canary.is_due)

    assert due == [False, False, True]
    assert not Canary(None, clock).is_due


def test_slow_canary_is_rare():
    """Where a canary takes a minute, it takes no more than its share of the time."""
    clock = Clock()
    canary = Canary(600, clock)

    def generate(_order):
        clock.now_s += 60
        return Result(images=(grey(),), notes=(), generate_s=60)

    canary.check(generate, CPU)
    clock.now_s += 60 / MAX_LOAD - 1
    assert not canary.is_due
    clock.now_s += 1
    assert canary.is_due


def test_cancelled_canary_stays_due():
    """A canary that gave way to work is due as soon as the work is done."""
    canary = Canary(600, Clock())

    def generate(_order):
        raise Cancelled

    with pytest.raises(Cancelled):
        canary.check(generate, CPU)
    assert canary.is_due
    assert math.isinf(least_db(CPU))
