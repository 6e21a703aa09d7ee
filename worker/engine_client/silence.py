"""How long an engine may be silent: ten times what a step has taken, for pictures of this size; pure."""

import statistics
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

from worker.engines import Order, Result

MEGA = 1e6
UNKNOWN_SIZE_MP = 4.0  # the largest that a caller may ask for
REFERENCE_MP = 1.0  # what an input image is scaled to, at most
KEPT = 50  # orders


class SilenceLimit:
    """What the latest orders took for each step and megapixel; it outlives the engine's process."""

    def __init__(self, least_s: float = 20.0, unknown_s: float = 600.0) -> None:
        self._least_s = least_s
        self._unknown_s = unknown_s  # before the first order has been drawn
        self._step_s_per_mp: deque[float] = deque(maxlen=KEPT)

    def silence_s(self, order: Order, count: int = 1) -> float:
        """Tell after how many seconds without a step the engine must be taken for hung, with so many such orders at once."""
        expected = self.step_s(order)
        return self._unknown_s if expected is None else max(self._least_s, 10 * expected * count)

    def step_s(self, order: Order) -> float | None:
        """Expect so many seconds for one step of this order; None before there is any experience."""
        if not self._step_s_per_mp:
            return None
        width_height = (order.width or 0) * (order.height or 0)
        size_mp = width_height / MEGA or UNKNOWN_SIZE_MP
        return statistics.median(self._step_s_per_mp) * _work(order, size_mp)

    def learn(
        self, order: Order, result: Result, steps_at: Sequence[float], count: int = 1
    ) -> None:
        """Take in when each step of a drawn order was done, of so many that were drawn at once."""
        gaps = [later - earlier for earlier, later in pairwise(steps_at)]
        if gaps:
            height, width, _ = result.pictures[0].shape
            work = _work(order, width * height / MEGA) * count
            self._step_s_per_mp.append(statistics.median(gaps) / work)


def _work(order: Order, size_mp: float) -> float:
    return size_mp + REFERENCE_MP * len(order.references)
