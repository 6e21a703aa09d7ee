"""Limits the lists that are read at once, because a page of long prompts takes megabytes of memory."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.fair_slots import FairSlots
from app.predictions.errors import TooManyRequests

MAX_LISTS = 8  # lists in one process
MAX_LISTS_PER_KEY = 3
RETRY_AFTER_S = 1


class ReadSlots:
    """The lists that are being read in one process."""

    def __init__(
        self, max_lists: int = MAX_LISTS, max_lists_per_key: int = MAX_LISTS_PER_KEY
    ) -> None:
        self._slots = FairSlots(max_lists, max_lists_per_key)

    @contextmanager
    def slot(self, key_id: str) -> Iterator[None]:
        """Hold a slot of the key while the body runs. Raises TooManyRequests."""
        if not self._slots.take(key_id):
            raise TooManyRequests(
                "the key, or all keys together, read too many lists at once; send one request after the other",
                retry_after_s=RETRY_AFTER_S,
            )
        try:
            yield
        finally:
            self._slots.release(key_id)
