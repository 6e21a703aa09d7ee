"""The worker's heartbeat: renews the leases of what it works on, and says that the worker is ready."""

import threading
from dataclasses import replace

from app.logs import log
from app.metrics import ENGINE_READY
from app.predictions.errors import Lost, Unavailable, UnknownPrediction
from app.predictions.prediction import LEASE
from app.predictions.store import Store
from app.predictions.worker_registry import SEEN_S, Worker, WorkerRegistry

BEAT_S = LEASE.total_seconds() / 4


class Leases:
    """One thread beside the work; the work itself may take as long as it must."""

    def __init__(self, store: Store, registry: WorkerRegistry, beat_s: float = BEAT_S) -> None:
        self._store = store
        self._registry = registry
        self._beat_s = beat_s
        self._held: dict[str, str] = {}
        self._worker: Worker | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="leases", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def close(self) -> None:
        """Stop beating and leave the registry."""
        self._stopping.set()
        if self._thread.is_alive():  # it never started where the weights were refused
            self._thread.join()
        self.announce(None)

    def hold(self, prediction_id: str, owner: str) -> None:
        """Renew this prediction's lease from now on."""
        self._held[prediction_id] = owner

    def drop(self, prediction_id: str) -> None:
        """Renew it no more."""
        self._held.pop(prediction_id, None)

    def announce(self, worker: Worker | None) -> None:
        """Say from now on that the worker is ready, or with None that it is not."""
        before, self._worker = self._worker, worker
        ENGINE_READY.set(worker is not None)
        try:
            if worker is not None:
                self._registry.announce(replace(worker, seen_at=self._registry.now()))
            elif before is not None:
                self._registry.announce(replace(before, seen_at=self._registry.now() - SEEN_S))
        except Unavailable as exc:
            log.warning("announcement_failed", error=str(exc))

    def _beat(self) -> None:
        while not self._stopping.wait(self._beat_s):
            for prediction_id, owner in list(self._held.items()):
                self._renew(prediction_id, owner)
            if self._worker is not None:
                self.announce(self._worker)

    def _renew(self, prediction_id: str, owner: str) -> None:
        try:
            self._store.change(prediction_id, lambda p, now: p.renew(owner, now))
        except (Lost, UnknownPrediction):
            if self._held.get(prediction_id) == owner:  # and not held by a next attempt of ours
                self.drop(prediction_id)  # whoever works on it hears so at its next step
        except Unavailable as exc:
            log.warning("lease_not_renewed", prediction=prediction_id, error=str(exc))
