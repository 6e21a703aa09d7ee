"""Counts the engines of this worker by their states, for the metrics."""

from app.metrics import ENGINE_STATE
from app.predictions.worker_registry import WorkerState


class StateGauge:
    """The part of one engine in the metric."""

    def __init__(self) -> None:
        self._state: WorkerState | None = None  # None means before the first start

    def set(self, state: WorkerState) -> None:
        """Count the engine in this state, and no longer in the one before."""
        for each in WorkerState:
            ENGINE_STATE.labels(each).inc((each is state) - (each is self._state))
        self._state = state
