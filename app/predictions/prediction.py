"""What a prediction is and which transitions are legal; pure, no I/O and no clock.

A prediction waits in the queue, runs under a lease that its owner renews, and ends once. Each method decides one
transition and returns the next value, or `self` where the same caller has made that transition before: a
command whose reply was lost may be sent again. `store.change` applies them.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from app.predictions.errors import AlreadyFinal, LeaseLost
from app.predictions.parameters import Parameters

MAX_ATTEMPTS = 3
LEASE = timedelta(seconds=10)
QUEUE_CHECK = timedelta(
    seconds=10
)  # how long a queued prediction waits before its token is looked for

RETRY_GAP = timedelta(seconds=1)  # before the second attempt; four times as long before each next


class Status(StrEnum):
    """The states of a prediction, in the domain's words; each dialect has its own."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Say whether nothing can follow this state."""
        return self not in {Status.QUEUED, Status.RUNNING}


class Cause(StrEnum):
    """Why a prediction failed."""

    INPUT = "input"
    ENGINE = "engine"
    OUT_OF_MEMORY = "out_of_memory"
    QUEUE_TIMEOUT = "queue_timeout"
    TIMEOUT = "timeout"
    STORAGE = "storage"
    WORKER_LOST = "worker_lost"
    WITHHELD = "withheld"

    @property
    def is_caller_error(self) -> bool:
        """Return whether the request itself must change before it can succeed."""
        return self in {Cause.INPUT, Cause.WITHHELD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The reason of a failed prediction, in a sentence that the caller may read."""

    cause: Cause
    message: str

    @property
    def is_retryable(self) -> bool:
        """Say whether the same request may succeed when it is sent again."""
        return not self.cause.is_caller_error


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One stored picture."""

    key: str  # in the storage
    width: int  # px
    height: int  # px


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Whom to tell of the end."""

    url: str
    secret: str | None = field(default=None, repr=False)
    sends_secret: bool = True  # along with the signatures, as hosted does
    base: (
        str  # of the URLs in its body, without a trailing slash: nobody's request names a host then
    )
    dialect: str = "eachlabs"  # in whose words
    on_cancel: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """By what a repeated request is known."""

    key: str  # the caller's own word for this request
    fingerprint: str  # of what was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a prediction may wait for a worker, and how long one attempt may run."""

    queue: timedelta
    run: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One accepted request and what became of it."""

    id: str
    key_id: str
    model: str
    input: dict[str, Any]
    created_at: datetime  # Redis time, as all others
    queued_at: datetime | None = None  # where it was given back to the queue
    not_before: datetime | None = None  # an attempt failed: when the next one may begin
    timeouts: Timeouts | None = None
    reference_keys: Annotated[tuple[str, ...], Field(alias="references")] = ()
    """Storage keys of the reference images; records keep the name of klein 0.1."""
    parameters: Parameters | None = None  # None in records of klein 0.1; see `parameters_of`
    status: Status = Status.QUEUED
    attempt: int = 0
    token: int = 1  # how many queue tokens have been issued
    owner: str | None = None
    lease_until: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    step: int = 0
    steps: int = 0
    outputs: tuple[Output, ...] = ()
    notes: tuple[str, ...] = ()
    failure: Failure | None = field(default=None)
    webhook: Webhook | None = None
    traceparent: str | None = None  # of the request that made it, where requests are traced
    idempotency: Idempotency | None = None

    def claim(self, owner: str, now: datetime) -> "Prediction":
        """Take the prediction for one attempt, or fail it when its attempts or its time are used up.

        Raises LeaseLost where it is final, somebody else's lease still runs, or the gap after a failure.
        """
        if self._is_held_by(owner):
            return self
        if self.status.is_final or _is_ahead(self.lease_until, now):
            raise LeaseLost(self.status)
        if (timed_out := self.time_out_in_queue(now)) is not self:
            return timed_out
        if _is_ahead(self.not_before, now):
            raise LeaseLost(self.status)
        if self.attempt >= MAX_ATTEMPTS:
            return self._lose(now, "the worker was lost")
        return replace(
            self,
            status=Status.RUNNING,
            attempt=self.attempt + 1,
            owner=owner,
            lease_until=now + LEASE,
            started_at=now,
            not_before=None,
            step=0,
        )

    def time_out_in_queue(self, now: datetime) -> "Prediction":
        """End what has waited for longer than it may; anything else stays as it is."""
        if self.timeouts is None or _is_ahead(self.queue_deadline, now) or self.status.is_final:
            return self
        message = f"no worker was free within {self.timeouts.queue.total_seconds():g} s"
        failure = Failure(cause=Cause.QUEUE_TIMEOUT, message=message)
        return self._end(Status.FAILED, now, failure=failure)

    def renew(self, owner: str, now: datetime) -> "Prediction":
        """Extend the owner's lease."""
        self._require(owner)
        return replace(self, lease_until=now + LEASE)

    def advance(self, owner: str, step: int, steps: int) -> "Prediction":
        """Record that denoising step `step` of `steps` is done."""
        self._require(owner)
        return replace(self, step=step, steps=steps)

    def release(self, owner: str, now: datetime) -> "Prediction":
        """Give the prediction back to the queue through no fault of its own."""
        self._require(owner)
        return replace(self._requeue(now), attempt=self.attempt - 1, token=self.token + 1)

    def retry(self, owner: str, reason: str, now: datetime) -> "Prediction":
        """Give back what may itself have ended its attempt, for later; the last attempt fails it."""
        self._require(owner)
        if self.attempt >= MAX_ATTEMPTS:
            return self._lose(now, reason)
        gap = RETRY_GAP * 4 ** (self.attempt - 1)
        return replace(self._requeue(now), not_before=now + gap)  # the reconciler brings it back

    def succeed(
        self, owner: str, outputs: tuple[Output, ...], notes: tuple[str, ...], now: datetime
    ) -> "Prediction":
        """End with stored pictures."""
        if self.status is Status.SUCCEEDED and self.owner == owner:
            return self
        self._require(owner)
        return self._end(Status.SUCCEEDED, now, outputs=outputs, notes=notes, step=self.steps)

    def fail(self, owner: str, failure: Failure, now: datetime) -> "Prediction":
        """End with a reason."""
        if self.status is Status.FAILED and self.owner == owner:
            return self
        self._require(owner)
        return self._end(Status.FAILED, now, failure=failure)

    def cancel(self, now: datetime) -> "Prediction":
        """End at the caller's wish. Raises AlreadyFinal after the end."""
        if self.status.is_final:
            raise AlreadyFinal(self.status)
        return self._end(Status.CANCELLED, now)

    def reissue(self) -> "Prediction":
        """Count a new queue token, for one that was lost."""
        return self if self.status.is_final else replace(self, token=self.token + 1)

    @property
    def prompt(self) -> str:
        """The prompt, which every model checks and leaves as it was sent."""
        return str(self.input["prompt"])

    @property
    def token_id(self) -> str:
        """Name the newest queue token of this prediction."""
        return f"{self.id}-{self.token}"

    @property
    def run_time(self) -> timedelta:
        """Tell how long it was processed; zero before its end."""
        if self.started_at is None or self.finished_at is None:
            return timedelta()
        return self.finished_at - self.started_at

    @property
    def needs_webhook(self) -> bool:
        """Say whether somebody must be told of its end; of a cancel only who asked for that."""
        if self.webhook is None or not self.status.is_final:
            return False
        return self.status is not Status.CANCELLED or self.webhook.on_cancel

    def due_at(self, now: datetime) -> datetime | None:
        """Tell when the reconciler must look at it next; None once it is final."""
        if self.status.is_final:
            return None
        if _is_ahead(self.lease_until, now):
            return self.lease_until
        look = self.not_before if _is_ahead(self.not_before, now) else now + QUEUE_CHECK
        return min(at for at in (look, self.queue_deadline) if at is not None)

    @property
    def queue_deadline(self) -> datetime | None:
        """The end of its time in the queue; after a lost lease it waits again."""
        if self.timeouts is None:
            return None
        since = self.lease_until or self.queued_at or self.created_at
        return since + self.timeouts.queue

    def _is_held_by(self, owner: str) -> bool:
        return self.status is Status.RUNNING and self.owner == owner

    def _requeue(self, now: datetime) -> "Prediction":
        return replace(
            self,
            status=Status.QUEUED,
            queued_at=now,
            owner=None,
            lease_until=None,
            started_at=None,
            step=0,
        )

    def _lose(self, now: datetime, reason: str) -> "Prediction":
        message = f"{reason}, in each of {self.attempt} attempts"
        failure = Failure(cause=Cause.WORKER_LOST, message=message)
        return self._end(Status.FAILED, now, failure=failure)

    def _require(self, owner: str) -> None:
        if not self._is_held_by(owner):
            raise LeaseLost(self.status)

    def _end(self, status: Status, now: datetime, **values: Any) -> "Prediction":
        return replace(self, status=status, finished_at=now, lease_until=None, **values)


def _is_ahead(at: datetime | None, now: datetime) -> bool:
    return at is not None and at > now
