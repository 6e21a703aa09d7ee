"""Chooses the webhooks that are due for a prediction. Does no I/O and reads no clock."""

from dataclasses import dataclass, replace

from app.predictions.prediction import Prediction, Status
from app.predictions.webhook_event import WebhookEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One webhook: its id, the same in each attempt, by which receivers detect repeats, and the prediction that it shows."""

    id: str
    prediction: Prediction
    event: WebhookEvent

    @property
    def is_end(self) -> bool:
        """Return whether it is recorded, and sent again if it fails. Any other is sent once."""
        return self.event is WebhookEvent.COMPLETED


def webhook_id(prediction_id: str) -> str:
    """Return the id of the message of an end."""
    return f"msg_{prediction_id}"


def messages_about(prediction: Prediction, *, owes_start: bool) -> list[Message]:
    """Return the webhooks to send now, in order. `owes_start`: the webhook for the start has not been sent."""
    assert prediction.webhook is not None  # noqa: S101 -- only such are in the outbox
    end_id = webhook_id(prediction.id)
    messages = []
    if owes_start:
        started = _as_started(prediction)
        messages.append(Message(id=f"{end_id}_start", prediction=started, event=WebhookEvent.START))
    if prediction.needs_webhook:
        messages.append(Message(id=end_id, prediction=prediction, event=WebhookEvent.COMPLETED))
    elif (
        prediction.status is Status.RUNNING
        and prediction.step
        and WebhookEvent.LOGS in prediction.webhook.events
    ):
        number = f"{prediction.attempt}_{prediction.step}"
        messages.append(
            Message(id=f"{end_id}_{number}", prediction=prediction, event=WebhookEvent.LOGS)
        )
    return messages


def _as_started(prediction: Prediction) -> Prediction:
    """Return the prediction as it was when its first attempt began, whatever has come of it."""
    return replace(
        prediction,
        status=Status.RUNNING,
        step=0,
        finished_at=None,
        outputs=(),
        failure=None,
        timings=None,
    )
