"""Reads the header `Cancel-After` of a create, the longest time that a prediction may take. Does no I/O."""

import re
from datetime import timedelta

from app.predictions.errors import FieldProblem, InvalidInput
from app.predictions.prediction import Timeouts

SHORTEST = timedelta(seconds=5)  # as at Replicate
_DURATION = re.compile(
    r"(?=[0-9])(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9})s?)?"
)  # 1h30m45s, 90


def read_cancel_after(text: str | None, maximum: Timeouts) -> Timeouts | None:
    """Return the limits of waiting and of running, at most those of the server, or None without a header. Raises InvalidInput."""
    if text is None:
        return None
    match = _DURATION.fullmatch(text.strip())
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    lifetime = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if lifetime < SHORTEST:
        message = "send at least 5 seconds, such as 30s, 10m or 1h30m"
        raise InvalidInput(FieldProblem(field="Cancel-After", message=message))
    return Timeouts(queue=min(lifetime, maximum.queue), run=min(lifetime, maximum.run))
