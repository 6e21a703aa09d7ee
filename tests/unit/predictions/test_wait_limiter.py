"""Tests of the wait limiter."""

from contextlib import ExitStack

import pytest

from app.predictions.errors import TooManyRequests
from app.predictions.wait_limiter import WaitLimiter


def take_slots(slots, limiter, key, times=1):
    for _ in range(times):
        slots.enter_context(limiter.slot(key))


def test_one_key_cannot_take_all_slots():
    """A key gets its share of the slots and no more, and another key still gets a slot."""
    limiter = WaitLimiter(max_waiters=10, max_per_key=3)
    with ExitStack() as slots:
        take_slots(slots, limiter, "a", 3)
        with pytest.raises(TooManyRequests):
            take_slots(slots, limiter, "a")
        take_slots(slots, limiter, "b")

        assert limiter.waiting == {"a": 3, "b": 1}


def test_all_keys_share_slots():
    """When all slots are taken, every key is refused."""
    limiter = WaitLimiter(max_waiters=2, max_per_key=2)
    with ExitStack() as slots:
        take_slots(slots, limiter, "a")
        take_slots(slots, limiter, "b")
        with pytest.raises(TooManyRequests):
            take_slots(slots, limiter, "c")


def test_slot_is_freed_after_error():
    """After an error the slot is free again and the key is forgotten."""
    limiter = WaitLimiter(max_waiters=1, max_per_key=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), limiter.slot("a"):
            raise ZeroDivisionError

    assert limiter.waiting == {}
