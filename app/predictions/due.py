"""Plans when the reconciler checks an open prediction next, and when its limits end it. Does no I/O and reads no clock."""

from datetime import datetime, timedelta

from app.predictions.prediction import CLOCK_SLACK, Prediction, Status

QUEUE_CHECK = timedelta(seconds=10)  # until it checks an open prediction that may not be in line
LINE_CHECK = timedelta(
    minutes=10
)  # until it checks one in line, which stays there until a worker takes it
HORIZON = LINE_CHECK + CLOCK_SLACK  # no check is planned further ahead


def due_at(prediction: Prediction, now: datetime) -> datetime | None:
    """Return the time of the next check, or None once the prediction is final."""
    if prediction.status.is_final:
        return None
    if prediction.is_leased(now):
        return prediction.lease_until
    if prediction.is_in_gap(now):
        return _until_timeout(prediction, prediction.not_before or now)
    if prediction.status is Status.QUEUED:
        return _until_timeout(prediction, now + LINE_CHECK)
    return _until_timeout(prediction, now + QUEUE_CHECK)


def ends_by(prediction: Prediction) -> datetime | None:
    """Return the time at which its queue timeout or run timeout ends it, or None if it is final or has no timeouts."""
    if prediction.status.is_final or prediction.timeouts is None:
        return None
    if prediction.status is Status.RUNNING and prediction.started_at is not None:
        return prediction.started_at + prediction.timeouts.run
    return prediction.queue_deadline


def first_look(prediction: Prediction) -> datetime | None:
    """Return the earliest time at which its timeouts can end a new prediction, or None without timeouts."""
    timeouts = prediction.timeouts
    return None if timeouts is None else prediction.created_at + min(timeouts.queue, timeouts.run)


def _until_timeout(prediction: Prediction, at: datetime) -> datetime:
    deadline = prediction.queue_deadline
    return at if deadline is None else min(at, deadline)
