"""The files and bytes that an API key may have uploaded, and the uploads that may arrive at once.

Redis keys: `klein:uploads:held:{key}` holds the size of each upload of an API key, 0 before its file has come, and
`klein:uploads:bytes:{key}` their sum. The scripts that change uploads count both.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.fair_slots import FairSlots
from app.predictions.accounts import Limits
from app.predictions.errors import TooManyRequests, Unavailable

MAX_AT_ONCE = 8
"""Uploads in one process. Each spools up to 100 MB to /tmp, which has 1 GiB in a container."""
MAX_AT_ONCE_PER_KEY = 2
RETRY_AFTER_S = 5
QUOTA_RETRY_S = 60


class DiskLow(Unavailable):
    """The disk has too little space for uploads; what is left is for images."""


def held_key(key_id: str) -> str:
    """Return the Redis key of the sizes of a key's uploads."""
    return f"klein:uploads:held:{key_id}"


def bytes_key(key_id: str) -> str:
    """Return the Redis key of the sum of these sizes."""
    return f"klein:uploads:bytes:{key_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadQuota:
    """What uploads may take."""

    limits_of: Callable[[str], Limits] = lambda _: Limits()  # by the id of a key
    reserve_bytes: int = 0  # that uploads leave free on the disk

    def check_disk(self, free_bytes: int | None) -> None:
        """Raise DiskLow if a disk (None means a storage without a known size) has less than the reserve."""
        if free_bytes is not None and free_bytes < self.reserve_bytes:
            raise DiskLow

    def too_many_files(self, key_id: str) -> TooManyRequests:
        """Return the error for a further upload."""
        return TooManyRequests(
            f"the key has {self.limits_of(key_id).uploads} uploads, as many as it may; delete some, or wait until they expire",
            retry_after_s=QUOTA_RETRY_S,
        )

    def too_many_bytes(self, key_id: str) -> TooManyRequests:
        """Return the error for a file that does not fit."""
        return TooManyRequests(
            f"the uploads of the key would have more than {self.limits_of(key_id).upload_bytes} bytes; delete some, or wait until they expire",
            retry_after_s=QUOTA_RETRY_S,
        )


class UploadSlots:
    """The uploads that are arriving in one process."""

    def __init__(self) -> None:
        self._slots = FairSlots(MAX_AT_ONCE, MAX_AT_ONCE_PER_KEY)
        self._arriving: set[str] = set()

    @contextmanager
    def slot(self, key_id: str, upload_id: str = "") -> Iterator[None]:
        """Hold a slot of the key while a file arrives. Raises TooManyRequests, also if another file arrives for this upload."""
        if upload_id in self._arriving or not self._slots.take(key_id):
            raise TooManyRequests(
                "too many uploads of the key, or of all keys, are arriving; send one after the other",
                retry_after_s=RETRY_AFTER_S,
            )
        if upload_id:
            self._arriving.add(upload_id)
        try:
            yield
        finally:
            self._arriving.discard(upload_id)
            self._slots.release(key_id)
