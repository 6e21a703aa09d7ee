"""Decides when a running engine counts as hung, and how long it may take to stop. Pure.

An engine process at work sends a beat every second, whatever its model does: encoding, compiling and decoding may
take as long as they need. It counts as hung when the beats stop, or when a step takes ten times as long as expected.
"""

import statistics
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

from worker.engines import Order, Result

MEGA = 1e6
UNKNOWN_SIZE_MP = 4.0  # the largest output that a caller can request
REFERENCE_MP = 1.0  # reference images are scaled down to this size
HISTORY_ORDERS = 50
BEAT_LIMIT_S = 60.0  # a library that is loaded from a slow disk holds up the beats
MIN_STEP_LIMIT_S = 60.0
MIN_STOP_S = 2.0


class SilenceLimit:
    """Keeps the step durations of the latest orders, across engine processes."""

    def __init__(self, beat_s: float = BEAT_LIMIT_S, min_step_s: float = MIN_STEP_LIMIT_S) -> None:
        self.beat_s = beat_s
        """How long a process at work may send nothing at all."""
        self.min_step_s = min_step_s
        """How long any step may take. A request before its first step, or past its last, may take as long to stop."""
        self._step_s_per_mp: deque[float] = deque(maxlen=HISTORY_ORDERS)

    def step_s(self, order: Order, step_times: Sequence[float], batch_size: int = 1) -> float:
        """Return how long the next step may take, in a batch of such orders whose last steps ended at these times.

        There is no limit before the first measurement: the first step of a size may compile the model.
        """
        if len(step_times) > 1 and 10 * (step_times[-1] - step_times[0]) <= self.min_step_s:
            return self.min_step_s  # no step took longer than all of them
        expected = self._expected_s(order, step_times, batch_size)
        return float("inf") if expected is None else max(self.min_step_s, 10 * expected)

    def stop_s(self, order: Order, step_times: Sequence[float], batch_size: int = 1) -> float:
        """Return how long a request between two steps may take to stop after its run timeout."""
        expected = self._expected_s(order, step_times, batch_size)
        return max(MIN_STOP_S, 3 * (expected or 0))

    def expected_step_s(self, order: Order) -> float | None:
        """Estimate the duration of one step of this order. None before the first measurement."""
        if not self._step_s_per_mp:
            return None
        width_height = (order.width or 0) * (order.height or 0)
        size_mp = width_height / MEGA or UNKNOWN_SIZE_MP
        return statistics.median(self._step_s_per_mp) * _work_mp(order, size_mp)

    def record(
        self, order: Order, result: Result, step_times: Sequence[float], batch_size: int = 1
    ) -> None:
        """Record when each step of a finished order ended, in a batch of this size."""
        step_s = _median_step_s(step_times)
        if step_s is not None:
            height, width, _ = result.images[0].shape
            work_mp = _work_mp(order, width * height / MEGA) * batch_size
            self._step_s_per_mp.append(step_s / work_mp)

    def _expected_s(
        self, order: Order, step_times: Sequence[float], batch_size: int
    ) -> float | None:
        measured = _median_step_s(step_times)
        if measured is not None:
            return measured
        estimated = self.expected_step_s(order)
        return None if estimated is None else estimated * batch_size


def _median_step_s(step_times: Sequence[float]) -> float | None:
    durations_s = [later - earlier for earlier, later in pairwise(step_times)]
    return statistics.median(durations_s) if durations_s else None


def _work_mp(order: Order, size_mp: float) -> float:
    return size_mp + REFERENCE_MP * len(order.reference_files)
