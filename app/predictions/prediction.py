"""Defines a prediction and its legal transitions. Does no I/O and reads no clock.

A prediction waits in the queue, runs under a lease that its owner renews, and ends once. Each method decides one
transition and returns the next value. It returns `self` where the same caller made that transition before, because a
command is sent again when its reply was lost. `Store.change` applies the transitions.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from app.predictions.engine_start import EngineStart
from app.predictions.errors import AlreadyFinal, LeaseLost
from app.predictions.failure import Cause, Failure
from app.predictions.parameters import Parameters
from app.predictions.timings import Timings
from app.predictions.webhook_event import WebhookEvent

MAX_ATTEMPTS = 3
LEASE = timedelta(seconds=10)
RETRY_GAP = timedelta(seconds=1)  # before the second attempt; four times as long before each next
LONGEST_GAP = RETRY_GAP * 4 ** (MAX_ATTEMPTS - 2)
CLOCK_SLACK = timedelta(seconds=1)  # by which a clock that is corrected goes back without harm


class Status(StrEnum):
    """The states of a prediction. Each dialect has its own names for them."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        """Return whether the prediction has ended."""
        return self not in {Status.QUEUED, Status.RUNNING}


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A stored output image."""

    key: str  # in the storage
    width: int  # px
    height: int  # px


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where to send the result, and progress where it is wanted."""

    url: str
    secret: str | None = field(default=None, repr=False)
    sends_secret: bool = True  # besides the signatures, as the hosted API does
    base: str  # base of the URLs in its body, without a trailing slash
    dialect: str = "eachlabs"  # whose form the body has
    on_cancel: bool = False
    events: tuple[WebhookEvent, ...] = (WebhookEvent.COMPLETED,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """Identifies a repeated request."""

    key: str  # the caller's idempotency key
    fingerprint: str  # hash of the request body


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """The queue timeout and the run timeout (of one attempt)."""

    queue: timedelta
    run: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """An accepted request and its state."""

    id: str
    key_id: str
    model: str
    input: dict[str, Any]
    created_at: datetime  # all times are Redis's
    timeouts: Timeouts | None = None
    retention: timedelta | None = None  # None: as long as the server keeps predictions
    forgets_prompt: bool = False  # at the end
    reference_keys: Annotated[tuple[str, ...], Field(alias="references")] = ()
    """Storage keys of the reference images. Records keep the name of klein 0.1."""
    mask_key: str = ""  # of the mask of the first one, a grey PNG; empty: no mask
    known_failure: Failure | None = None  # found when it was accepted; see `fail_early`
    parameters: Parameters | None = None  # None in records of klein 0.1; see `parameters_of`
    webhook: Webhook | None = None
    traceparent: str | None = None  # of the request, where requests are traced
    idempotency: Idempotency | None = None
    # What changes stands last in a record: Redis receives and logs a record from its first change on.
    notes: tuple[str, ...] = ()
    queued_at: datetime | None = None  # when it returned to the queue
    not_before: datetime | None = None  # earliest start of the next attempt, after one failed
    status: Status = Status.QUEUED
    attempt: int = 0
    owner: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    lease_until: datetime | None = None
    engine_start: EngineStart | None = None  # while the attempt waits for it
    step: int = 0
    steps: int = 0
    outputs: tuple[Output, ...] = ()
    numerics: str = ""
    """Weights, device, number formats and kernels that drew the images. Where they are equal, a seed gives equal bytes."""
    failure: Failure | None = field(default=None)
    timings: Timings | None = None  # of the attempt that succeeded

    def claim(self, owner: str, now: datetime) -> "Prediction":
        """Begin an attempt, or fail where no attempt or no queue time is left, or its failure is known.

        Raises LeaseLost if it is final, another lease is valid, or the gap after a failure is not over.
        """
        if self._is_held_by(owner):
            return self
        if self.status.is_final or self.is_leased(now):
            raise LeaseLost(self.status)
        if (failed := self.fail_early(now)) is not self:
            return failed
        if self.is_in_gap(now):
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
            engine_start=None,
            step=0,
        )

    def fail_early(self, now: datetime) -> "Prediction":
        """Fail a prediction that no attempt can help: its failure is known, or its queue time is over. Return any other unchanged."""
        if self.known_failure is not None and not self.status.is_final:
            return self._end(Status.FAILED, now, failure=self.known_failure)
        return self.time_out_in_queue(now)

    def time_out_in_queue(self, now: datetime) -> "Prediction":
        """Fail a prediction past its queue timeout. Return any other unchanged."""
        deadline = self.queue_deadline
        if self.timeouts is None or deadline is None or now < deadline or self.status.is_final:
            return self
        message = f"no worker was free within {self.timeouts.queue.total_seconds():g} s"
        failure = Failure(cause=Cause.QUEUE_TIMEOUT, message=message)
        return self._end(Status.FAILED, now, failure=failure)

    def renew(self, owner: str, now: datetime) -> "Prediction":
        """Extend the owner's lease."""
        self._require(owner)
        return replace(self, lease_until=now + LEASE)

    def wait_for_engine(self, owner: str, start: EngineStart) -> "Prediction":
        """Record the start of the engine that the attempt waits for."""
        self._require(owner)
        return replace(self, engine_start=start)

    def begin(self, owner: str, now: datetime) -> "Prediction":
        """Record that the engine has started. The time of processing counts from now on."""
        self._require(owner)
        return replace(self, engine_start=None, started_at=now)

    def advance(
        self, owner: str, step: int, steps: int, renewed_at: datetime | None = None
    ) -> "Prediction":
        """Record that denoising step `step` of `steps` is done. With `renewed_at` it also extends the lease, as `renew` does."""
        self._require(owner)
        lease_until = renewed_at + LEASE if renewed_at else self.lease_until
        return replace(self, engine_start=None, step=step, steps=steps, lease_until=lease_until)

    def release(self, owner: str, now: datetime) -> "Prediction":
        """Return the prediction to the queue without counting the attempt."""
        self._require(owner)
        return replace(self._requeue(now), attempt=self.attempt - 1)

    def retry(self, owner: str, reason: str, now: datetime) -> "Prediction":
        """Return the prediction to the queue after a gap, because it may have caused the failure. The last attempt fails it."""
        self._require(owner)
        if self.attempt >= MAX_ATTEMPTS:
            return self._lose(now, reason)
        gap = RETRY_GAP * 4 ** (self.attempt - 1)
        return replace(self._requeue(now), not_before=now + gap)  # the reconciler puts it in line

    def succeed(  # noqa: PLR0913 -- what an end has
        self,
        owner: str,
        outputs: tuple[Output, ...],
        notes: tuple[str, ...],
        now: datetime,
        timings: Timings | None = None,
        numerics: str = "",
    ) -> "Prediction":
        """End with stored images."""
        if self.status is Status.SUCCEEDED and self.owner == owner:
            return self
        self._require(owner)
        steps = (timings and timings.steps) or self.steps
        return self._end(
            Status.SUCCEEDED,
            now,
            outputs=outputs,
            notes=(*self.notes, *notes),
            numerics=numerics,
            step=steps,
            steps=steps,
            timings=timings,
        )

    def fail(self, owner: str, failure: Failure, now: datetime) -> "Prediction":
        """End with a failure."""
        if self.status is Status.FAILED and self.owner == owner:
            return self
        self._require(owner)
        return self._end(Status.FAILED, now, failure=failure)

    def cancel(self, now: datetime) -> "Prediction":
        """End at the request of the caller. Raises AlreadyFinal after the end."""
        if self.status.is_final:
            raise AlreadyFinal(self.status)
        return self._end(Status.CANCELLED, now)

    def without_prompt(self) -> "Prediction":
        """Remove everything that the caller wrote in words."""
        kept = {name: value for name, value in self.input.items() if name != "negative_prompt"}
        parameters = self.parameters and replace(self.parameters, negative_prompt="")
        return replace(self, input=kept | {"prompt": ""}, parameters=parameters)

    @property
    def prompt(self) -> str:
        """The prompt, which every model checks and leaves as it was sent."""
        return str(self.input["prompt"])

    @property
    def is_retry(self) -> bool:
        """Return whether it had its turn before: an attempt, or one that was given back."""
        return self.attempt > 0 or self.queued_at is not None

    def must_queue(self, before: "Prediction", now: datetime) -> bool:
        """Return whether the transition from `before` puts it in line: it was given back, without a gap."""
        was_running = before.status is Status.RUNNING
        return was_running and self.status is Status.QUEUED and not self.is_in_gap(now)

    @property
    def run_time(self) -> timedelta:
        """Return the time of processing, which is zero before the end."""
        if self.started_at is None or self.finished_at is None:
            return timedelta()
        return self.finished_at - self.started_at

    @property
    def needs_webhook(self) -> bool:
        """Return whether the end must be delivered. A cancel is delivered only if the webhook wants it.

        It also is the last of the logs, and brings the images.
        """
        if self.webhook is None or not self.status.is_final:
            return False
        events = self.webhook.events
        if WebhookEvent.COMPLETED not in events:
            is_told = WebhookEvent.OUTPUT in events or WebhookEvent.LOGS in events
            return is_told and self.status is Status.SUCCEEDED
        return self.status is not Status.CANCELLED or self.webhook.on_cancel

    @property
    def queue_deadline(self) -> datetime | None:
        """The end of the queue timeout, which starts again after a lost lease."""
        if self.timeouts is None:
            return None
        since = self.lease_until or self.queued_at or self.created_at
        return since + self.timeouts.queue

    def is_leased(self, now: datetime) -> bool:
        """Return whether an attempt holds a valid lease."""
        return _is_ahead(self.lease_until, now, LEASE)

    def is_in_gap(self, now: datetime) -> bool:
        """Return whether the pause before its next attempt is not over."""
        return _is_ahead(self.not_before, now, LONGEST_GAP)

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
            engine_start=None,
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
        values |= {"lease_until": None, "engine_start": None}
        ended = replace(self, status=status, finished_at=now, **values)
        return ended.without_prompt() if self.forgets_prompt else ended


def _is_ahead(at: datetime | None, now: datetime, most: timedelta) -> bool:
    """Return whether `at` is to come. Further ahead than `most` it was set before the clock went back."""
    return at is not None and now < at <= now + most + CLOCK_SLACK
