"""An engine request: one order in progress, with its callbacks, deadline and outcome."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from worker.engine_client.process import EngineDied
from worker.engines import Cancelled, OnPreview, Order, Result, TimedOut
from worker.engines.errors import RequestFailed

Outcome = Result | Cancelled | RequestFailed | EngineDied


@dataclass(slots=True, kw_only=True)
class EngineRequest:
    """Holds an order and its state. The engine client feeds it the messages of the engine process."""

    order: Order
    on_step: Callable[[int, int], bool]
    """Called with (k, n) after each step. Returns False to cancel."""
    on_preview: OnPreview | None = None
    timeout_s: float | None = None
    id: str = ""
    batch_size: int = 1
    deadline: float = float("inf")
    step_times: list[float] = field(default_factory=list)
    outcome: Outcome | None = None
    is_between_steps: bool = False
    """Whether a step is done and another follows, so that the next one is near."""
    _step: int = 0
    _is_cancelled: bool = False
    _has_timed_out: bool = False

    def start(self, request_id: str, batch_size: int) -> None:
        """Set the id and the batch size, and start the run timeout."""
        self.id = request_id
        self.batch_size = batch_size
        if self.timeout_s is not None:
            self.deadline = time.monotonic() + self.timeout_s

    @property
    def has_timed_out(self) -> bool:
        """Whether the run timeout has passed and the engine was told to stop."""
        return self._has_timed_out

    def record_step(self, k: int, n: int, ends: Sequence[float]) -> bool:
        """Record that step k of n is done. `ends` has the times at which it and the unreported steps before it ended.

        Returns False once, when the engine must be told to cancel.
        """
        if k <= self._step and self.batch_size > 1:  # the batch failed and the order runs alone now
            self.batch_size = 1
            self.step_times.clear()
        self.step_times.extend(ends)
        self.is_between_steps = k < n
        self._step = max(self._step, k)  # progress never goes backwards
        if self._is_cancelled or self.on_step(self._step, n):
            return True
        self._is_cancelled = True
        return False

    def set_stop_deadline(self, stop_s: float) -> None:
        """Mark the request as timed out and give the engine this long to stop."""
        self._has_timed_out = self._is_cancelled = True
        self.deadline = time.monotonic() + stop_s

    def finish(self, outcome: Outcome) -> None:
        """Set the outcome, unless there is one. A request that timed out or was cancelled keeps no result."""
        if self.outcome is not None:
            return
        if self._has_timed_out:
            outcome = TimedOut()
        elif self._is_cancelled and isinstance(outcome, Result):
            outcome = Cancelled()
        self.outcome = outcome
