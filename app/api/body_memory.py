"""Limits the memory of the JSON bodies that are being read: those that stop to arrive hold theirs for a minute."""

from collections.abc import Callable

from app.fair_slots import FairSlots
from app.held import hold
from app.predictions.errors import TooManyRequests

MB = 1024 * 1024
MAX_BYTES = 64 * MB
MAX_BYTES_OF_KEY = 24 * MB
RETRY_AFTER_S = 1

Reserve = Callable[[int], None]
"""Counts bytes. Raises TooManyRequests."""


class BodyMemory:
    """The bytes of the bodies that requests of one process hold."""

    def __init__(
        self, max_bytes: int = MAX_BYTES, max_bytes_of_key: int = MAX_BYTES_OF_KEY
    ) -> None:
        self._bytes = FairSlots(max_bytes, max_bytes_of_key)

    def reservation(self, owner: str) -> Reserve:
        """Return a function that counts bytes for the current request, until it ends or begins to wait."""
        reserved_bytes = 0

        def reserve(size_bytes: int) -> None:
            nonlocal reserved_bytes
            if not self._bytes.take(owner, size_bytes):
                raise TooManyRequests(
                    "the key, or all keys together, send too many bodies at once; send fewer at once",
                    retry_after_s=RETRY_AFTER_S,
                )
            reserved_bytes += size_bytes

        def release() -> None:
            nonlocal reserved_bytes
            self._bytes.release(owner, reserved_bytes)
            reserved_bytes = 0

        hold(release)
        return reserve
