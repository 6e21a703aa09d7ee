"""Renews the leases of the worker, with its heartbeats."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from app.logs import log
from app.predictions.errors import LeaseLost, Unavailable, UnknownPrediction
from app.predictions.prediction import LEASE, Prediction
from app.predictions.store import Store
from worker.deadline import Deadline

BEAT_S = LEASE.total_seconds() / 4
"""Several heartbeats fit into a lease, so that one that is late or lost costs nothing."""
ENGINE_WAIT_S = 3600.0
"""How long a claimed prediction may wait for the engine: the rest of the batch before it, and a restart."""


class LeaseStage(StrEnum):
    """What the attempt that holds a lease does."""

    WAITING = "waiting"  # for the engine
    GENERATING = "generating"
    PUBLISHING = "publishing"


@dataclass(slots=True, kw_only=True, eq=False)
class Lease:
    """The right of one attempt to its prediction. It is renewed until the deadline of its stage."""

    prediction: Prediction
    owner: str
    stage: LeaseStage = LeaseStage.WAITING
    deadline: Deadline = field(default_factory=lambda: Deadline.after(ENGINE_WAIT_S))
    renewed_s: float = float("-inf")  # by a step, on the monotonic clock

    def begin(self, stage: LeaseStage, limit_s: float) -> None:
        """Begin a stage that may take this long."""
        self.stage = stage
        self.deadline = Deadline.after(limit_s)

    @contextmanager
    def renewed_by_change(self) -> Iterator[bool]:
        """Change the record in the body, and renew the lease with it where this is true: within the deadline of its stage."""
        is_renewed, began_s = not self.deadline.has_passed, time.monotonic()
        yield is_renewed
        if is_renewed:
            self.renewed_s = began_s


class Leases:
    """Renews leases in a thread of its own, so that an attempt may wait for the engine or the storage."""

    def __init__(
        self, store: Store, beat_s: float = BEAT_S, on_beat: Callable[[], None] = lambda: None
    ) -> None:
        self._store = store
        self._beat_s = beat_s
        self._on_beat = on_beat  # called with each heartbeat
        self._leases: set[Lease] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="leases", daemon=True)

    @property
    def held(self) -> frozenset[Lease]:
        """The leases that are renewed."""
        return frozenset(self._leases)

    @property
    def is_beating(self) -> bool:
        """Whether the heartbeats are being sent."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the heartbeats."""
        self._thread.start()

    def close(self) -> None:
        """Stop the heartbeats."""
        self._stopping.set()
        if self.is_beating:  # not started if the weights were refused
            self._thread.join()

    def hold(self, lease: Lease) -> None:
        """Renew this lease from now on."""
        self._leases.add(lease)

    def drop(self, lease: Lease) -> None:
        """Stop renewing this lease. Another attempt of the same prediction keeps its own."""
        self._leases.discard(lease)

    def release(self, lease: Lease) -> None:
        """Return the prediction to the queue and stop renewing its lease. The attempt is not counted."""
        try:
            released = self._store.change(
                lease.prediction.id, lambda p, now: p.release(lease.owner, now)
            )
        except (LeaseLost, UnknownPrediction):  # it has ended, or was released before
            self.drop(lease)
        except Unavailable as exc:  # still held: `release_all` tries again
            log.warning("attempt_not_released", prediction=lease.prediction.id, error=str(exc))
        else:
            log.info("attempt_ended", prediction=released.id, status=released.status)
            self.drop(lease)

    def release_all(self) -> None:
        """Release every lease that is still held."""
        for lease in self.held:
            self.release(lease)

    def renew(self, lease: Lease) -> None:
        """Renew a lease once, unless a step has just done so. Stop renewing it if it is lost, or if its stage is past its deadline."""
        prediction_id = lease.prediction.id
        if lease.deadline.has_passed:  # it expires, and another attempt runs
            log.error("lease_overdue", prediction=prediction_id, stage=lease.stage)
            self.drop(lease)
            return
        if time.monotonic() - lease.renewed_s < self._beat_s / 2:
            return
        try:
            self._store.change(prediction_id, lambda p, now: p.renew(lease.owner, now))
        except (LeaseLost, UnknownPrediction):
            self.drop(lease)  # the attempt stops at its next step
        except Unavailable as exc:
            log.warning("lease_not_renewed", prediction=prediction_id, error=str(exc))

    def _beat(self) -> None:
        while not self._stopping.wait(self._beat_s):
            for lease in self.held:
                self.renew(lease)
            self._on_beat()
