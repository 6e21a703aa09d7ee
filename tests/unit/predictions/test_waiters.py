"""Seats for those who wait."""

from contextlib import ExitStack

import pytest

from app.predictions.errors import TooManyRequests
from app.predictions.waiters import Waiters


def sit(seats, waiters, key, times=1):
    for _ in range(times):
        seats.enter_context(waiters.seat(key))


def test_one_key_cannot_take_all_seats():
    """A key gets its share and no more, and another key still finds a seat."""
    waiters = Waiters(most=10, most_of_a_key=3)
    with ExitStack() as seats:
        sit(seats, waiters, "a", 3)
        with pytest.raises(TooManyRequests):
            sit(seats, waiters, "a")
        sit(seats, waiters, "b")

        assert waiters.taken == {"a": 3, "b": 1}


def test_all_keys_share_what_there_is():
    """When all seats are taken nobody gets one, whoever asks."""
    waiters = Waiters(most=2, most_of_a_key=2)
    with ExitStack() as seats:
        sit(seats, waiters, "a")
        sit(seats, waiters, "b")
        with pytest.raises(TooManyRequests):
            sit(seats, waiters, "c")


def test_a_seat_is_given_back_however_the_wait_ends():
    """After an end, and after an error, the seat is free and the key forgotten."""
    waiters = Waiters(most=1, most_of_a_key=1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), waiters.seat("a"):
            raise ZeroDivisionError

    assert waiters.taken == {}
