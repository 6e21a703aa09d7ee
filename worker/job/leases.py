"""Sends the worker's heartbeats: renews its leases and its entry in the worker registry."""

import threading
from dataclasses import replace

from app.logs import log
from app.metrics import ENGINE_READY
from app.predictions.errors import LeaseLost, Unavailable, UnknownPrediction
from app.predictions.prediction import LEASE
from app.predictions.store import Store
from app.predictions.worker_registry import SEEN_S, Worker, WorkerRegistry

BEAT_S = LEASE.total_seconds() / 4


class Leases:
    """Renews leases in a thread of its own, so that an attempt may take any time."""

    def __init__(self, store: Store, registry: WorkerRegistry, beat_s: float = BEAT_S) -> None:
        self._store = store
        self._registry = registry
        self._beat_s = beat_s
        self._held: dict[str, str] = {}
        self._worker: Worker | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="leases", daemon=True)

    @property
    def held(self) -> dict[str, str]:
        """The owner of each prediction whose lease is renewed."""
        return dict(self._held)

    @property
    def is_beating(self) -> bool:
        """Whether the heartbeats are being sent."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the heartbeats."""
        self._thread.start()

    def close(self) -> None:
        """Stop the heartbeats and leave the worker registry."""
        self._stopping.set()
        if self.is_beating:  # not started if the weights were refused
            self._thread.join()
        self.announce(None)

    def hold(self, prediction_id: str, owner: str) -> None:
        """Renew the lease of this prediction from now on."""
        self._held[prediction_id] = owner

    def drop(self, prediction_id: str) -> None:
        """Stop renewing the lease of this prediction."""
        self._held.pop(prediction_id, None)

    def renew(self, prediction_id: str, owner: str) -> None:
        """Renew a lease once. Stop renewing it if it is lost."""
        try:
            self._store.change(prediction_id, lambda p, now: p.renew(owner, now))
        except (LeaseLost, UnknownPrediction):
            is_current = self._held.get(prediction_id) == owner  # no later attempt of this worker
            if is_current:
                self.drop(prediction_id)  # the attempt stops at its next step
        except Unavailable as exc:
            log.warning("lease_not_renewed", prediction=prediction_id, error=str(exc))

    def announce(self, worker: Worker | None) -> None:
        """Register the worker as ready from now on, or remove it with None."""
        previous, self._worker = self._worker, worker
        ENGINE_READY.set(worker is not None)
        try:
            if worker is not None:
                self._registry.announce(replace(worker, seen_at=self._registry.now()))
            elif previous is not None:
                self._registry.announce(replace(previous, seen_at=self._registry.now() - SEEN_S))
        except Unavailable as exc:
            log.warning("registration_failed", error=str(exc))

    def _beat(self) -> None:
        while not self._stopping.wait(self._beat_s):
            for prediction_id, owner in list(self._held.items()):
                self.renew(prediction_id, owner)
            if self._worker is not None:
                self.announce(self._worker)
