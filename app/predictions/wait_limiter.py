"""Limits the waiters of this process, per key and in all, so that other requests are still served."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.predictions.errors import TooManyRequests

RETRY_AFTER_S = 2


@dataclass(slots=True, kw_only=True)
class WaitLimiter:
    """Counts the waiters of one process. Use it on one event loop."""

    max_waiters: int
    max_per_key: int
    waiting: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def slot(self, key_id: str) -> Iterator[None]:
        """Count a waiter while the body runs. Raises TooManyRequests."""
        if self.waiting[key_id] >= self.max_per_key or self.waiting.total() >= self.max_waiters:
            raise TooManyRequests(
                "too many requests of the key, or of all keys, are waiting here; send it without waiting",
                retry_after_s=RETRY_AFTER_S,
            )
        self.waiting[key_id] += 1
        try:
            yield
        finally:
            self.waiting[key_id] -= 1
            if not self.waiting[key_id]:
                del self.waiting[key_id]
