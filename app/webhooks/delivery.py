"""Defines a delivery and its retries. Does no I/O and reads no clock."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.predictions.prediction import Prediction

GONE = 410  # the receiver refuses further attempts
MAX_KEPT_ATTEMPTS = 50  # that a record keeps, more than a round has


SCHEDULES = {
    "hosted": (timedelta(seconds=10),) * 2,
    # standardwebhooks.com: three days and a few hours in all
    "long": (
        timedelta(seconds=5),
        timedelta(minutes=5),
        timedelta(minutes=30),
        timedelta(hours=2),
        timedelta(hours=5),
        timedelta(hours=10),
        timedelta(hours=14),
        timedelta(hours=20),
        timedelta(hours=24),
    ),
}
"""The pauses between attempts, by setting. There is one attempt more than pauses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryAttempt:
    """One request to the receiver and its result."""

    at: datetime
    took: timedelta | None = (
        None  # until the response; None means there was none, or klein 0.1 recorded it
    )
    status_code: int | None = None
    response: str | None = None
    error: str | None = None

    @property
    def is_acknowledged(self) -> bool:
        """Return whether the receiver responded with 2xx."""
        return self.status_code is not None and 200 <= self.status_code < 300  # noqa: PLR2004


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The delivery of a webhook, with its attempts."""

    id: str  # the prediction's
    url: str
    created_at: datetime
    attempts: tuple[DeliveryAttempt, ...] = ()
    round_from: int = (
        0  # the attempt at which the current round began; redelivery begins a new round
    )

    @property
    def acknowledged_at(self) -> datetime | None:
        """Return when the receiver first acknowledged it. None means not yet."""
        acknowledged = (attempt for attempt in self.attempts if attempt.is_acknowledged)
        return next((a.at + (a.took or timedelta()) for a in acknowledged), None)

    def with_attempt(self, attempt: DeliveryAttempt) -> "Delivery":
        """Add an attempt, and forget the oldest above MAX_KEPT_ATTEMPTS."""
        attempts = (*self.attempts, attempt)
        forgotten = max(0, len(attempts) - MAX_KEPT_ATTEMPTS)
        round_from = max(0, self.round_from - forgotten)
        return replace(self, attempts=attempts[forgotten:], round_from=round_from)

    def restarted(self) -> "Delivery":
        """Begin a new round with all its attempts."""
        return replace(self, round_from=len(self.attempts))

    def pause(self, pauses: tuple[timedelta, ...]) -> timedelta | None:
        """Return the pause before the next attempt, or None if there is none."""
        tries = len(self.attempts) - self.round_from
        if not tries:
            return timedelta()
        last = self.attempts[-1]
        if last.is_acknowledged or last.status_code == GONE or tries > len(pauses):
            return None
        return pauses[tries - 1]


def first_delivery(prediction: Prediction) -> Delivery:
    """Create the delivery of a final prediction."""
    assert prediction.webhook is not None  # noqa: S101 -- the caller checked
    assert prediction.finished_at is not None  # noqa: S101 -- only final predictions are delivered
    return Delivery(id=prediction.id, url=prediction.webhook.url, created_at=prediction.finished_at)
