"""Names the keys and channels of predictions in Redis.

`klein:prediction:{id}` the record · `klein:preview:{id}` its latest preview · `klein:open` ids by the time of
their next check · `klein:history:{key}` a key's ids by age · `klein:idempotency:{key}:{idempotency key}` the id that a repeated request
gets · `klein:expiry` final ids by the time they are deleted · `klein:ledger` unfinished ids by a time before which no limit ends them · `klein:webhook:{id}` a delivery's record ·
`klein:webhooks:due` ids by the time of the next attempt, and the channel that announces them · `klein:webhooks:starts` ids whose start is not yet told · `klein:webhooks:of:{key}` a key's ids with a webhook · and what
`accounts` says.
"""

from datetime import date

ENDED_CHANNEL = "klein:ended"  # ids with the final record
FINAL_CHANNEL = "klein:final"  # ids: what klein 0.1 announces instead
CHANGED_CHANNEL = "klein:changed"  # ids: a claim, a step
OPEN = "klein:open"
EXPIRY = "klein:expiry"
LEDGER = "klein:ledger"
WEBHOOKS_DUE = "klein:webhooks:due"
WEBHOOK_STARTS = "klein:webhooks:starts"


def record_key(prediction_id: str) -> str:
    """Return the Redis key of a record."""
    return f"klein:prediction:{prediction_id}"


def preview_key(prediction_id: str) -> str:
    """Return the Redis key of the latest preview."""
    return f"klein:preview:{prediction_id}"


def delivery_key(prediction_id: str) -> str:
    """Return the Redis key of a webhook delivery's record."""
    return f"klein:webhook:{prediction_id}"


def deliveries_key(key_id: str) -> str:
    """Return the Redis key of an API key's deliveries by age."""
    return f"klein:webhooks:of:{key_id}"


def usage_field(day: date, model: str = "") -> str:
    """Return the field of `klein:spent:{key}` that counts a model on a day (UTC). Those of older days sort before it."""
    return f"{day.isoformat()} {model}"


def history_key(key_id: str) -> str:
    """Return the Redis key of an API key's predictions by age."""
    return f"klein:history:{key_id}"


def idempotency_key(key_id: str, idempotency: str) -> str:
    """Return the Redis key of the id that a repeated request gets."""
    return f"klein:idempotency:{key_id}:{idempotency}"
