"""Seats for those who wait."""

from contextlib import ExitStack

import pytest

from app.predictions.errors import TooManyRequests
from app.predictions.wait_limiter import WaitLimiter


def sit(seats, limiter, key, times=1):
    for _ in range(times):
        seats.enter_context(limiter.slot(key))


def test_one_key_cannot_take_all_seats():
    """A key gets its share and no more, and another key still finds a seat."""
    limiter = WaitLimiter(most=10, most_per_key=3)
    with ExitStack() as seats:
        sit(seats, limiter, "a", 3)
        with pytest.raises(TooManyRequests):
            sit(seats, limiter, "a")
        sit(seats, limiter, "b")

        assert limiter.waiting == {"a": 3, "b": 1}


def test_all_keys_share_what_there_is():
    """When all seats are taken nobody gets one, whoever asks."""
    limiter = WaitLimiter(most=2, most_per_key=2)
    with ExitStack() as seats:
        sit(seats, limiter, "a")
        sit(seats, limiter, "b")
        with pytest.raises(TooManyRequests):
            sit(seats, limiter, "c")


def test_a_seat_is_given_back_however_the_wait_ends():
    """After an end, and after an error, the seat is free and the key forgotten."""
    limiter = WaitLimiter(most=1, most_per_key=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), limiter.slot("a"):
            raise ZeroDivisionError

    assert limiter.waiting == {}
