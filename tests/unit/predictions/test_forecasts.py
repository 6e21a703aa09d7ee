"""The estimates of accepted predictions, and their error."""

import threading
from datetime import timedelta

import pytest
import redis
from prometheus_client import REGISTRY

from app.predictions.backlog import Backlog
from app.predictions.errors import Unavailable
from app.predictions.forecasts import Forecasts
from app.predictions.place import Place
from tests.support.fakes import NOW, a_prediction, a_store

PLACE = Place(ahead=1, expected_wait=timedelta(seconds=2), expected_end=timedelta(seconds=6))


def a_backlog():
    return Backlog(a_store(redis.Redis()))  # which is not connected to


def estimate(_ahead, _prediction):
    return PLACE


def no_redis(_ahead, _prediction):
    raise Unavailable


def errors():
    names = ("klein_estimate_error_ratio_count", "klein_estimate_error_ratio_sum")
    return tuple(REGISTRY.get_sample_value(name) for name in names)


@pytest.mark.parametrize("is_fresh", [True, False])
async def test_estimate_that_reads_redis_takes_a_thread(is_fresh):
    """An estimate is made on the event loop if everything is known, else in a thread, which may wait for Redis."""
    threads = []

    def estimate_here(_ahead, _prediction):
        threads.append(threading.current_thread())
        return PLACE

    forecasts = Forecasts(estimate_here, a_backlog(), lambda _prediction: is_fresh)
    await forecasts.remember_soon(a_prediction(), 1)

    assert [thread is threading.main_thread() for thread in threads] == [is_fresh]
    assert forecasts.get("p") == PLACE


def test_error_is_measured_at_the_end():
    """A prediction that was expected to take 6 s and took 8 s is off by a quarter, and is then forgotten."""
    forecasts = Forecasts(estimate, a_backlog())
    forecasts.remember(a_prediction(), 1)
    assert forecasts.get("p") == PLACE
    running = a_prediction().claim("a", NOW)
    ended = running.succeed("a", (), (), NOW + timedelta(seconds=8))
    count, total = errors()
    forecasts.end("p", lambda: ended)
    forecasts.end("p", lambda: ended)
    forecasts.end("of another process", lambda: ended)

    assert errors() == (count + 1, total + 0.25)
    assert forecasts.get("p") is None


def test_only_successes_count():
    """A cancelled prediction says nothing about the estimate."""
    forecasts = Forecasts(estimate, a_backlog())
    forecasts.remember(a_prediction(), 1)
    before = errors()
    forecasts.end("p", lambda: a_prediction().cancel(NOW))

    assert errors() == before


def test_accepted_prediction_needs_no_estimate():
    """While Redis does not respond there is no estimate, and no error."""
    forecasts = Forecasts(no_redis, a_backlog())
    forecasts.remember(a_prediction(), 1)

    assert forecasts.get("p") is None
