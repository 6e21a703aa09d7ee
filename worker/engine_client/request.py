"""One order that the engine process was asked for, on its way to its outcome; the supervisor carries the messages."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from worker.engine_client.process import EngineDied
from worker.engines import Cancelled, OnPreview, Order, Result, TimedOut
from worker.engines.errors import RequestFailed

Outcome = Result | Cancelled | RequestFailed | EngineDied


@dataclass(slots=True, kw_only=True)
class EngineRequest:
    """An order, who hears of it, and how it stands."""

    order: Order
    on_step: Callable[[int, int], bool]
    """Hears each step as (k, n), and returns False to cancel."""
    on_preview: OnPreview | None = None
    timeout_s: float | None = None
    id: str = ""
    at_once: int = 1
    ends_at: float = float("inf")
    steps_at: list[float] = field(default_factory=list)
    outcome: Outcome | None = None
    _step: int = 0
    _is_given_up: bool = False
    _is_late: bool = False

    def begin(self, order_id: str, at_once: int) -> None:
        """Start its time, drawn at once with others or alone."""
        self.id = order_id
        self.at_once = at_once
        if self.timeout_s is not None:
            self.ends_at = time.monotonic() + self.timeout_s

    @property
    def is_late(self) -> bool:
        """Say whether it ran too long and was told to stop."""
        return self._is_late

    def wants_more(self, k: int, n: int) -> bool:
        """Tell of a step; False once, where the engine must be told to stop."""
        if k <= self._step and self.at_once > 1:  # its batch failed: it is drawn once more, alone
            self.at_once = 1
            self.steps_at.clear()
        self.steps_at.append(time.monotonic())
        self._step = max(self._step, k)  # does not count backwards
        if self._is_given_up or self.on_step(self._step, n):
            return True
        self._is_given_up = True
        return False

    def be_late(self, stop_s: float) -> None:
        """Give it so long to stop."""
        self._is_late = self._is_given_up = True
        self.ends_at = time.monotonic() + stop_s

    def end(self, outcome: Outcome) -> None:
        """Take what the engine says of it, unless nobody wants that any more; the first word stands."""
        if self.outcome is not None:
            return
        if self._is_late:
            outcome = TimedOut()
        elif self._is_given_up and isinstance(outcome, Result):
            outcome = Cancelled()
        self.outcome = outcome
