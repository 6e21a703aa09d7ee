"""A submission: everything that a caller specifies for a prediction."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from app.images.mask import WHITE_IS_REDRAWN, MaskReading
from app.images.scratch import SentImage
from app.predictions.prediction import Idempotency, Timeouts, Webhook


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """Everything that a caller specifies for a prediction."""

    key_id: str
    slug: str
    input: dict[str, Any]
    images: Mapping[str, SentImage] = field(default_factory=dict)
    """Images that came with the request, by the names that the input has for them."""
    mask_reading: MaskReading = WHITE_IS_REDRAWN
    webhook: Webhook | None = None
    idempotency: Idempotency | None = None
    timeouts: Timeouts | None = None
    retention: timedelta | None = None
    notes: tuple[str, ...] = ()
    """What the prediction shows to the caller."""
