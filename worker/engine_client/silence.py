"""Computes how long an engine may be silent before it counts as hung. Pure.

The limit is ten times the median duration of a step, scaled by the size of the images.
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


class SilenceLimit:
    """Keeps the step durations of the latest orders, across engine processes."""

    def __init__(self, min_s: float = 20.0, initial_s: float = 600.0) -> None:
        self._min_s = min_s
        self._initial_s = initial_s  # before the first measurement
        self._step_s_per_mp: deque[float] = deque(maxlen=HISTORY_ORDERS)

    def limit_s(self, order: Order, batch_size: int = 1) -> float:
        """Return how long the engine may send nothing while it runs a batch of such orders."""
        expected = self.expected_step_s(order)
        if expected is None:
            return self._initial_s
        return max(self._min_s, 10 * expected * batch_size)

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
        durations_s = [later - earlier for earlier, later in pairwise(step_times)]
        if durations_s:
            height, width, _ = result.images[0].shape
            work_mp = _work_mp(order, width * height / MEGA) * batch_size
            self._step_s_per_mp.append(statistics.median(durations_s) / work_mp)


def _work_mp(order: Order, size_mp: float) -> float:
    return size_mp + REFERENCE_MP * len(order.reference_files)
