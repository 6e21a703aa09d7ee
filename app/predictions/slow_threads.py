"""Runs what may take long in threads of its own, so that cheap requests keep theirs."""

from collections.abc import Callable
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread

from app.turns import Turns

T = TypeVar("T")
THREADS = 4
THREADS_PER_KEY = 2
WAIT_S = 60.0  # for one of them


class SlowThreads:
    """A few threads, which the keys use in turn."""

    def __init__(self, threads: int = THREADS) -> None:
        self._turns = Turns(threads, THREADS_PER_KEY, WAIT_S)
        self._threads = CapacityLimiter(threads)

    async def run(self, key_id: str, work: Callable[..., T], *arguments: Any) -> T:
        """Run a function. Raises NoTurn, and what it raises."""
        async with self._turns.turn(key_id):
            return await to_thread.run_sync(work, *arguments, limiter=self._threads)
