"""Records the transitions of predictions in metrics and traces."""

from app.metrics import ENDED, STAGE_SECONDS, Stage
from app.predictions.prediction import Prediction
from app.predictions.timeline import timeline_of
from app.tracing import add_span


def record_transition(before: Prediction, after: Prediction) -> None:
    """Record the wait before the first attempt. At the end, count the prediction and add its spans."""
    if after.status.is_final:
        cause = after.failure.cause if after.failure else ""
        ENDED.labels(after.model, after.status, cause).inc()
        if after.traceparent is not None:
            _add_spans(after, cause)
    elif after.attempt == 1 and after.started_at and not before.started_at:
        record_wait(after)


def record_wait(prediction: Prediction) -> None:
    """Record the wait of a prediction that was just claimed for the first time."""
    if prediction.started_at is not None:
        wait = prediction.started_at - prediction.created_at
        STAGE_SECONDS.labels(Stage.QUEUED).observe(wait.total_seconds())


def _add_spans(ended: Prediction, cause: str) -> None:
    add_span(
        "prediction",
        parent=ended.traceparent,
        started_at=ended.started_at or ended.created_at,
        finished_at=ended.finished_at or ended.created_at,
        attributes={
            "klein.prediction": ended.id,
            "klein.model": ended.model,
            "klein.status": ended.status,
            "klein.cause": cause,
            "klein.attempt": ended.attempt,
        },
    )
    at = ended.created_at
    for stage in timeline_of(ended):
        add_span(
            stage.stage,
            parent=ended.traceparent,
            started_at=at,
            finished_at=at + stage.duration,
            attributes={"klein.prediction": ended.id},
        )
        at += stage.duration
