"""Says what follows from a change of a prediction in the rest of Redis: times, limits, usage and webhooks. Does no I/O.

The scripts that change records apply it, in the same step.
"""

from dataclasses import replace
from datetime import datetime

from app.lua.script import Value
from app.predictions.accounts import (
    cost_of,
    held_key,
    month_of,
    nanodollars,
    spent_key,
)
from app.predictions.catalog import parameters_of
from app.predictions.clock import to_ms
from app.predictions.due import due_at
from app.predictions.prediction import Prediction, Status
from app.predictions.queue import kind_of, recent_key
from app.predictions.redis_keys import (
    CHANGED_CHANNEL,
    ENDED_CHANNEL,
    EXPIRY,
    LEDGER,
    OPEN,
    WEBHOOK_STARTS,
    WEBHOOKS_DUE,
    deliveries_key,
    preview_key,
    usage_field,
)
from app.predictions.speed import SAMPLES, Sample, sample_of
from app.predictions.webhook_due import owes_start, webhook_due


def change_values(was: Prediction, after: Prediction, now: datetime) -> dict[str, Value]:
    """Return what follows from a change that is not the end. A renewed lease alone is announced to nobody."""
    keeps_lease = was.owner is not None and was.owner == after.owner
    due = None if keeps_lease else due_at(after, now)  # the check at its old end finds the new one
    webhook_due_at = webhook_due(was, after, now)
    is_renewal = replace(was, lease_until=after.lease_until) == after
    return {
        "open": OPEN,
        "due_ms": None if due is None or due == due_at(was, now) else to_ms(due),
        "channel": None if is_renewal else CHANGED_CHANNEL,
        "webhook_due_ms": None if webhook_due_at is None else to_ms(webhook_due_at),
        "owes_start": int(owes_start(was, after)),
        # the last keys of a script: those that are None are not sent
        "webhooks_due": WEBHOOKS_DUE if after.webhook else None,
        "starts": WEBHOOK_STARTS if after.webhook else None,
    }


def end_values(was: Prediction, after: Prediction, now: datetime) -> dict[str, Value]:
    """Return what follows from the end."""
    sample = _sample(was, after)
    webhook_due_at = webhook_due(was, after, now)
    return {
        "open": OPEN,
        "ledger": LEDGER,
        "expiry": EXPIRY,
        "preview": preview_key(after.id),
        "held": held_key(after.key_id),
        "spent": spent_key(after.key_id),
        "recent": recent_key(kind_of(after)),
        "channel": ENDED_CHANNEL,
        "webhook_due_ms": None if webhook_due_at is None else to_ms(webhook_due_at),
        "month": month_of(now),
        "cost": nanodollars(cost_of(after)),
        "sample": None if sample is None else sample.encode(),
        "samples": SAMPLES,
        "has_previews": int(parameters_of(after).previews),
        "usage": usage_field(now.date(), after.model),
        "images": 0 if sample is None else len(after.outputs),
        "pixels": sum(output.width * output.height for output in after.outputs),
        "engine_ms": 0 if sample is None else round(sample.engine_s * 1000),
        # as above
        "webhooks_due": WEBHOOKS_DUE if webhook_due_at else None,
        "deliveries": deliveries_key(after.key_id) if webhook_due_at else None,
    }


def _sample(was: Prediction, after: Prediction) -> Sample | None:
    is_success = after.status is Status.SUCCEEDED and was.status is not Status.SUCCEEDED
    return sample_of(after) if is_success else None
