"""Limits the lists that are read at once: a page of long prompts takes megabytes of memory, and the interpreter for its time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from app.fair_slots import FairSlots
from app.predictions.errors import TooManyRequests
from app.predictions.slow_threads import SlowThreads
from app.turns import NoTurn

T = TypeVar("T")
MAX_LISTS = 8  # in one process, until they are sent
MAX_LISTS_PER_KEY = 3
THREADS = 2  # read lists; a key has one, as FairSlots leaves it no more than are free
RETRY_AFTER_S = 1


class ReadSlots:
    """The lists that are being read in one process."""

    def __init__(
        self, max_lists: int = MAX_LISTS, max_lists_per_key: int = MAX_LISTS_PER_KEY
    ) -> None:
        self._slots = FairSlots(max_lists, max_lists_per_key)
        self._threads = SlowThreads(THREADS)

    @contextmanager
    def slot(self, key_id: str) -> Iterator[None]:
        """Hold a slot of the key while the body runs. Raises TooManyRequests."""
        if not self._slots.take(key_id):
            raise _too_many()
        try:
            yield
        finally:
            self._slots.release(key_id)

    async def read(self, key_id: str, work: Callable[[], T]) -> T:
        """Read a list, in threads of their own. Raises TooManyRequests, and what `work` raises."""
        try:
            return await self._threads.run(key_id, work)
        except NoTurn:
            raise _too_many() from None


def _too_many() -> TooManyRequests:
    return TooManyRequests(
        "the key, or all keys together, read too many lists at once; send one request after the other",
        retry_after_s=RETRY_AFTER_S,
    )
