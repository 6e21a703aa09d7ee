"""Shares a fixed number of slots between owners, so that a few of them cannot hold all. Does no I/O."""

import threading


class FairSlots:
    """Counts the slots that each owner holds. Safe for threads.

    An owner may hold `per_owner` slots, and never more than are free. So an owner that holds none gets one, unless as many
    owners as there are slots hold them.
    """

    def __init__(self, slots: int, per_owner: int) -> None:
        self._free = slots
        self._per_owner = per_owner
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    def take(self, owner: str, count: int = 1) -> bool:
        """Take slots. Returns False, and takes none, if the owner may not have that many more now."""
        with self._lock:
            held = self._held.get(owner, 0) + count
            if held > self._limit():
                return False
            self._held[owner] = held
            self._free -= count
            return True

    def release(self, owner: str, count: int = 1) -> None:
        """Give slots back."""
        with self._lock:
            self._free += count
            if held := self._held.pop(owner, 0) - count:
                self._held[owner] = held

    def full(self) -> list[str]:
        """Return the owners that hold slots and may have no more now."""
        with self._lock:
            limit = self._limit()
            return [owner for owner, held in self._held.items() if held >= limit]

    @property
    def is_full(self) -> bool:
        """Return whether no owner may have a slot."""
        with self._lock:
            return self._limit() <= 0

    def _limit(self) -> int:
        return min(self._per_owner, self._free)
