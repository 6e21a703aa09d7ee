"""Sends the worker's heartbeats: renews its leases and its entry in the worker registry."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from app.logs import log
from app.metrics import ENGINE_READY
from app.predictions.errors import LeaseLost, Unavailable, UnknownPrediction
from app.predictions.prediction import LEASE, Prediction
from app.predictions.store import Store
from app.predictions.worker_registry import SEEN_S, Departure, Worker, WorkerCommand, WorkerRegistry
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

    def begin(self, stage: LeaseStage, limit_s: float) -> None:
        """Begin a stage that may take this long."""
        self.stage = stage
        self.deadline = Deadline.after(limit_s)


class Leases:
    """Renews leases in a thread of its own, so that an attempt may wait for the engine or the storage."""

    def __init__(self, store: Store, registry: WorkerRegistry, beat_s: float = BEAT_S) -> None:
        self._store = store
        self._registry = registry
        self._beat_s = beat_s
        self._leases: set[Lease] = set()
        self._worker: Worker | None = None
        self._last: Worker | None = None  # as it was announced, also while it is not ready
        self._registering = threading.RLock()
        self._on_command: Callable[[WorkerCommand], None] = lambda _command: None
        self._image_age_s: Callable[[], float | None] = lambda: None
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

    def start(
        self,
        on_command: Callable[[WorkerCommand], None] | None = None,
        image_age_s: Callable[[], float | None] | None = None,
    ) -> None:
        """Start the heartbeats. `on_command` is called with what an operator asks of the registered worker.

        `image_age_s` returns how long ago the engine generated an image, for the worker registry.
        """
        self._on_command = on_command or self._on_command
        self._image_age_s = image_age_s or self._image_age_s
        self._thread.start()

    def close(self) -> None:
        """Stop the heartbeats and leave the worker registry."""
        self._stopping.set()
        if self.is_beating:  # not started if the weights were refused
            self._thread.join()
        self.announce(None)

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
        """Renew a lease once. Stop renewing it if it is lost, or if its stage is past its deadline."""
        prediction_id = lease.prediction.id
        if lease.deadline.has_passed:  # it expires, and another attempt runs
            log.error("lease_overdue", prediction=prediction_id, stage=lease.stage)
            self.drop(lease)
            return
        try:
            self._store.change(prediction_id, lambda p, now: p.renew(lease.owner, now))
        except (LeaseLost, UnknownPrediction):
            self.drop(lease)  # the attempt stops at its next step
        except Unavailable as exc:
            log.warning("lease_not_renewed", prediction=prediction_id, error=str(exc))

    def announce(self, worker: Worker | None, departure: Departure | None = None) -> None:
        """Register the worker as ready from now on, or remove it with None. `departure` says why it ends by itself."""
        with self._registering:
            previous, self._worker = self._worker, worker
            self._last = worker or previous or self._last
            ENGINE_READY.set(worker is not None)
            try:
                if worker is not None:
                    self._register(worker, previous)
                elif self._last is not None and (previous is not None or departure is not None):
                    seen_at = self._registry.now() - SEEN_S
                    self._registry.announce(
                        replace(self._last, seen_at=seen_at, departure=departure)
                    )
            except Unavailable as exc:
                log.warning("registration_failed", error=str(exc))

    def _register(self, worker: Worker, previous: Worker | None) -> None:
        now, age_s = self._registry.now(), self._image_age_s()
        is_same = previous is not None and previous.state is worker.state
        self._worker = replace(
            worker,
            seen_at=now,
            state_since=previous.state_since if previous is not None and is_same else now,
            image_at=None if age_s is None else now - age_s,
        )
        self._registry.announce(self._worker)

    def _beat(self) -> None:
        while not self._stopping.wait(self._beat_s):
            for lease in self.held:
                self.renew(lease)
            with self._registering:  # a state that another thread announces meanwhile stays
                worker = self._worker
                if worker is not None:
                    self.announce(worker)
            if worker is not None:
                self._follow_command(worker.name)

    def _follow_command(self, name: str) -> None:
        try:
            command = self._registry.take_command(name)
        except Unavailable:
            return  # it is kept for a minute
        if command is not None:
            log.info("command_received", command=command)
            self._on_command(command)
