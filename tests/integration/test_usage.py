"""The usage of API keys, counted by the script of the end in a real Redis."""

from datetime import timedelta

import pytest

from app.predictions.accounts import cost_of
from app.predictions.clock import Clock
from app.predictions.prediction import Output
from app.predictions.timings import Timings
from app.predictions.usage import DayUsage, Usage
from tests.support.fakes import a_prediction, a_store

MODEL = "flux-2-klein-4b-text-to-image"
OUTPUTS = (Output(key="p/a/0.png", width=1000, height=500),) * 2
TIMINGS = Timings(denoised_ms=3000, batch=2)


@pytest.fixture
def store(connection):
    return a_store(connection)


def succeed(store, prediction_id, **values):
    store.add(a_prediction(prediction_id, **values))
    store.change(prediction_id, lambda p, now: p.claim("a", now))
    return store.change(prediction_id, lambda p, now: p.succeed("a", OUTPUTS, (), now, TIMINGS))


def test_successes_of_key_are_added_up(connection, store):
    """Images, megapixels, the share of the engine and dollars are added up by day, model and key. Other ends count nothing."""
    ended = [succeed(store, name) for name in "ab"]
    succeed(store, "e", model="flux-2-klein-4b-base-text-to-image")
    succeed(store, "other", key_id="other")
    store.add(a_prediction("cancelled"))
    store.change("cancelled", lambda p, now: p.cancel(now))
    store.delete(ended[0])
    today = Clock(connection).now().date()
    rows = Usage(connection).read(["key"], today, 1)

    assert [row.model for row in rows] == ["flux-2-klein-4b-base-text-to-image", MODEL]
    assert rows[1] == DayUsage(
        day=today,
        key_id="key",
        model=MODEL,
        images=4,
        megapixels=2.0,
        engine_s=3.0,
        dollars=pytest.approx(sum(map(cost_of, ended))),  # type: ignore[arg-type]  # approx
    )
    assert Usage(connection).read(["key"], today - timedelta(days=1), 30) == []


def test_repeated_end_counts_once(connection, store):
    """A success whose reply was lost is written again and counted once."""
    succeed(store, "a")
    store.change("a", lambda p, now: p.succeed("a", OUTPUTS, (), now, TIMINGS))
    [row] = Usage(connection).read(["key"], Clock(connection).now().date(), 1)

    assert row.images == 2
