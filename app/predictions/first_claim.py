"""Writes the claim of a prediction that was never changed, so that the script which takes it can claim it. Does no I/O."""

import json
from datetime import UTC, datetime
from typing import NamedTuple

from pydantic import TypeAdapter

from app.predictions.prediction import LEASE, Prediction
from app.predictions.record_patch import patch_in_place
from app.predictions.record_reader import RECORDS

_NEVER_CHANGED = Prediction(
    id="", key_id="", model="", input={}, created_at=datetime(1970, 1, 1, tzinfo=UTC)
)
_RECORD = RECORDS.write(_NEVER_CHANGED)
_OWNER, _CLAIMED_AT = "owner", datetime(1970, 1, 1, tzinfo=UTC)
_END = patch_in_place(_RECORD, RECORDS.write(_NEVER_CHANGED.claim(_OWNER, _CLAIMED_AT))).part
"""The claim by that owner at that time. Any other one differs in these values alone, which costs a fifth of writing it."""
_json_of = TypeAdapter(datetime).dump_json  # a time as records have it


class FirstClaim(NamedTuple):
    """What a claim changes: the end of the record, and the time of the next check."""

    end: bytes
    """Replaces the last brace. It is the same for all such records, because what changes stands last in a record."""
    lease_until: datetime


def first_claim(owner: str, now: datetime) -> FirstClaim:
    """Return the claim of any prediction that was never changed and that `Prediction.claim` neither refuses nor fails."""
    lease_until = now + LEASE
    end = (
        _END.replace(json.dumps(_OWNER).encode() + b",", json.dumps(owner).encode() + b",")
        .replace(_json_of(_CLAIMED_AT), _json_of(now))
        .replace(_json_of(_CLAIMED_AT + LEASE), _json_of(lease_until))
    )
    return FirstClaim(end, lease_until)


def apply_claim(record: bytes, claim: FirstClaim) -> bytes:
    """Return the record after the claim, as the script writes it."""
    return record[:-1] + claim.end
