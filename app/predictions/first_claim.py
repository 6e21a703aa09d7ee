"""Writes the claim of a prediction that was never changed, so that the script which takes it can claim it. Does no I/O."""

from datetime import UTC, datetime
from typing import NamedTuple

from app.predictions.prediction import Prediction
from app.predictions.record_patch import patch_in_place
from app.predictions.record_reader import RECORDS

_NEVER_CHANGED = Prediction(
    id="", key_id="", model="", input={}, created_at=datetime(1970, 1, 1, tzinfo=UTC)
)
_RECORD = RECORDS.write(_NEVER_CHANGED)


class FirstClaim(NamedTuple):
    """What a claim changes: the end of the record, and the time of the next check."""

    end: bytes
    """Replaces the last brace. It is the same for all such records, because what changes stands last in a record."""
    lease_until: datetime


def first_claim(owner: str, now: datetime) -> FirstClaim:
    """Return the claim of any prediction that was never changed and that `Prediction.claim` neither refuses nor fails."""
    claimed = _NEVER_CHANGED.claim(owner, now)
    assert claimed.lease_until is not None  # noqa: S101 -- a claim sets it
    end = patch_in_place(_RECORD, RECORDS.write(claimed)).part
    return FirstClaim(end, claimed.lease_until)


def apply_claim(record: bytes, claim: FirstClaim) -> bytes:
    """Return the record after the claim, as the script writes it."""
    return record[:-1] + claim.end
