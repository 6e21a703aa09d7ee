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
        add_span(
            "prediction",
            parent=after.traceparent,
            started_at=after.started_at or after.created_at,
            finished_at=after.finished_at or after.created_at,
            attributes={
                "klein.prediction": after.id,
                "klein.model": after.model,
                "klein.status": after.status,
                "klein.cause": cause,
                "klein.attempt": after.attempt,
            },
        )
        at = after.created_at
        for stage in timeline_of(after):
            add_span(
                stage.stage,
                parent=after.traceparent,
                started_at=at,
                finished_at=at + stage.duration,
                attributes={"klein.prediction": after.id},
            )
            at += stage.duration
    elif after.attempt == 1 and after.started_at and not before.started_at:
        STAGE_SECONDS.labels(Stage.QUEUED).observe(
            (after.started_at - after.created_at).total_seconds()
        )
