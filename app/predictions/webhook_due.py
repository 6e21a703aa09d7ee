"""Decides when the change of a prediction is due at its webhook's receiver. Does no I/O and reads no clock."""

from datetime import datetime, timedelta

from app.predictions.prediction import Prediction, Status
from app.predictions.webhook_event import WebhookEvent

LOGS_GAP = timedelta(milliseconds=500)
"""Time from a step to the webhook that reports it. Steps within it share one webhook."""


def webhook_due(before: Prediction, after: Prediction, now: datetime) -> datetime | None:
    """Return when a change is due at the receiver, or None if no webhook is sent."""
    if after.status.is_final:
        return now if after.needs_webhook else None
    if owes_start(before, after):
        return now
    wants_logs = after.webhook is not None and WebhookEvent.LOGS in after.webhook.events
    return now + LOGS_GAP if wants_logs and after.step > before.step else None


def owes_start(before: Prediction, after: Prediction) -> bool:
    """Return whether the first attempt began, and the receiver wants to know."""
    is_start = (before.status, after.status) == (Status.QUEUED, Status.RUNNING)
    wants_start = after.webhook is not None and WebhookEvent.START in after.webhook.events
    return wants_start and is_start and not before.is_retry
