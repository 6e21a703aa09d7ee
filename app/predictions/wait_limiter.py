"""Who waits in this process: so many at most, of one key and of all, that the others are still answered."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from app.predictions.errors import TooManyRequests

RETRY_AFTER_S = 2


@dataclass(slots=True, kw_only=True)
class WaitLimiter:
    """The seats of one process; used on one event loop."""

    most: int
    most_per_key: int
    taken: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def slot(self, key_id: str) -> Iterator[None]:
        """Hold a seat while a caller waits. Raises TooManyRequests."""
        if self.taken[key_id] >= self.most_per_key or self.taken.total() >= self.most:
            raise TooManyRequests(
                "too many requests of the key, or of all, wait here already; ask without waiting",
                retry_after_s=RETRY_AFTER_S,
            )
        self.taken[key_id] += 1
        try:
            yield
        finally:
            self.taken[key_id] -= 1
            if not self.taken[key_id]:
                del self.taken[key_id]
