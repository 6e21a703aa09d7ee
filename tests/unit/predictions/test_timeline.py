"""The stages of a prediction and their times."""

from datetime import timedelta

from app.predictions.prediction import Output
from app.predictions.timeline import TimelineStage, timeline_of, whole_time
from app.predictions.timings import Timings
from tests.support.fakes import NOW, a_prediction

OUTPUTS = (Output(key="p/a/0.png", width=64, height=48),)
TIMINGS = Timings(
    claimed_ms=5, encoded_ms=40, denoised_ms=700, decoded_ms=60, written_ms=30, stored_ms=15
)


def after(ms):
    return NOW + timedelta(milliseconds=ms)


def milliseconds(prediction):
    return {stage.stage: stage.ms for stage in timeline_of(prediction)}


def test_stages_of_success_add_up():
    """The stages of a success are in order, and add up to the time from the create to the end."""
    ended = a_prediction().claim("a", after(100)).succeed("a", OUTPUTS, (), after(1000), TIMINGS)

    assert list(milliseconds(ended)) == list(TimelineStage)
    assert milliseconds(ended)[TimelineStage.QUEUED] == 100
    assert milliseconds(ended)[TimelineStage.DENOISED] == 700
    assert milliseconds(ended)[TimelineStage.TOLD] == 50
    assert sum(milliseconds(ended).values()) == 1000


def test_clocks_that_disagree_give_no_negative_time():
    """A stage takes no negative time if the worker measured more than Redis's clock."""
    ended = a_prediction().claim("a", after(0)).succeed("a", OUTPUTS, (), after(800), TIMINGS)

    assert milliseconds(ended)[TimelineStage.TOLD] == 0


def test_stages_that_are_not_known_are_left_out():
    """A waiting prediction has no stage yet. One that runs, failed or was cancelled has the wait alone."""
    running = a_prediction().claim("a", after(100))

    assert timeline_of(a_prediction()) == []
    assert milliseconds(running) == {TimelineStage.QUEUED: 100}
    assert milliseconds(running.cancel(after(300))) == {TimelineStage.QUEUED: 100}
    assert milliseconds(a_prediction().cancel(after(300))) == {TimelineStage.QUEUED: 300}


def test_acknowledged_webhook_belongs_to_telling():
    """The time until a webhook was acknowledged counts as told, and in the whole time. An earlier clock adds nothing."""
    ended = a_prediction().claim("a", after(100)).succeed("a", OUTPUTS, (), after(1000), TIMINGS)

    assert timeline_of(ended, after(1250))[-1].ms == 50 + 250
    assert whole_time(ended, after(1250)) == timedelta(milliseconds=1250)
    assert timeline_of(ended, after(900)) == timeline_of(ended)
    assert whole_time(ended, after(900)) == timedelta(milliseconds=1000)
    assert whole_time(a_prediction()) is None
