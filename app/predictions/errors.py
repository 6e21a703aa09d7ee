"""Defines the errors of predictions, without HTTP.

KleinError
├── InvalidInput            the caller's input, field by field
├── UnknownModel            no such slug here
├── UnknownPrediction       no such id for this key
├── AlreadyFinal            a final prediction cannot be cancelled
├── IdempotencyKeyReused    an idempotency key came with another request
├── UnreadableRecord        a record is damaged, or another version wrote it
├── LeaseLost               the attempt no longer owns its prediction
├── Refused
│   ├── TooManyRequests     too many in flight or a minute, or the queue is full
│   └── BudgetSpent         the monthly budget of the key is spent
└── Unavailable             Redis or the storage does not respond
    └── ShuttingDown        this process is shutting down
"""

from dataclasses import dataclass


class KleinError(Exception):
    """The base of klein's own errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldProblem:
    """One field of the caller's input and what to do about it."""

    field: str
    message: str


class InvalidInput(KleinError):
    """The input does not fit the model."""

    def __init__(self, *problems: FieldProblem) -> None:
        super().__init__("; ".join(f"{p.field}: {p.message}" for p in problems))
        self.problems = problems


class UnknownModel(KleinError):
    """The model is not served here; GET /v1/models lists what is."""


class UnknownPrediction(KleinError):
    """There is no such prediction; check the id, the key, and that it has not expired."""


class AlreadyFinal(KleinError):
    """The prediction has already ended."""

    def __init__(self, status: str) -> None:
        super().__init__(f"the prediction has already ended: {status}")
        self.status = status


class IdempotencyKeyReused(KleinError):
    """Another request came with this Idempotency-Key before; send a new key for a new request."""


class UnreadableRecord(KleinError):
    """A record is damaged, or of a newer version; the log of the courier names it."""

    def __init__(self, kind: str, where: str) -> None:
        super().__init__(f"a {kind} record cannot be read by this version of klein: {where}")


class LeaseLost(KleinError):
    """The attempt no longer owns its prediction: stop the work and discard its files."""


class Refused(KleinError):
    """The key may not create this now; `Retry-After` says when it may."""

    def __init__(self, message: str, *, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooManyRequests(Refused):
    """Too many requests at once."""


class BudgetSpent(Refused):
    """The key's budget of the month is spent."""


class Unavailable(KleinError):
    """Redis or the storage does not answer; try again shortly."""


class ShuttingDown(Unavailable):
    """The server stops before the end; send the request again, with the Idempotency-Key that it had."""
