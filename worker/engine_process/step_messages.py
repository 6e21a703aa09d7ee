"""Tells the worker about the steps of a request, about quick ones together."""

import time
from collections.abc import Callable

from worker.engine_process.connection import EngineConnection
from worker.engine_process.protocol import Step

GAP_S = 0.04
"""Shortest time between two messages. Each wakes the worker, which stores at most ten steps a second."""
SOON = 2  # the last step that is sent at once


class StepMessages:
    """Sends the steps of one request: the first two at once, which tell how long a step takes, and the last one."""

    def __init__(
        self,
        connection: EngineConnection,
        request_id: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._request_id = request_id
        self._clock = clock
        self._ends: list[float] = []  # of the steps that the worker does not know
        self._sent_s = float("-inf")

    def add(self, k: int, n: int) -> None:
        """Send that step k of n has just ended, with those before it, or leave that to a later one."""
        now_s = self._clock()
        self._ends.append(now_s)
        if SOON < k < n and now_s - self._sent_s < GAP_S:
            return
        self._connection.send(Step(id=self._request_id, k=k, n=n, ends=tuple(self._ends)))
        self._ends.clear()
        self._sent_s = now_s
