"""Limits the deliveries in progress, and how often they start, per API key and receiver. Does no I/O."""

from collections import Counter

from app.fair_slots import FairSlots
from app.webhooks.lines import TakenDelivery

CONCURRENT = 64  # deliveries of one courier
CONCURRENT_PER_KEY = 16
CONCURRENT_PER_RECEIVER = 8  # of one key: to a host as its URLs name it, and to an address and port
BURST_S = 6.0  # of a key's rate; so many may start at once


class Slots:
    """Counts what is in progress. Use it in one thread. Times are seconds of one clock.

    `per_second` limits how often deliveries of one key start.
    """

    def __init__(self, per_second: float) -> None:
        self._keys = FairSlots(CONCURRENT, CONCURRENT_PER_KEY)
        self._receivers: Counter[str] = Counter()  # by line, and by key and address
        self._blocked: dict[str, float] = {}  # lines, until when
        self._interval_s = 1 / per_second
        self._paced: dict[str, float] = {}  # keys, until when their starts count

    @property
    def is_full(self) -> bool:
        """Return whether no delivery can start."""
        return self._keys.is_full

    def busy(self, now: float) -> list[str]:
        """Return the keys and lines of which no delivery may start now."""
        self._blocked = _later(self._blocked, now)
        self._paced = _later(self._paced, now)
        return [
            *self._keys.full(),
            *_later(self._paced, now + BURST_S),
            *self._blocked,
            *(name for name, count in self._receivers.items() if count >= CONCURRENT_PER_RECEIVER),
        ]

    def start(self, taken: TakenDelivery) -> bool:
        """Take the slots of a delivery. Returns False if its key has none."""
        if not self._keys.take(taken.key_id):
            return False
        self._receivers[taken.line] += 1
        return True

    def end(self, taken: TakenDelivery) -> None:
        """Release what `start` took."""
        self._keys.release(taken.key_id)
        self._release(taken.line)

    def block(self, taken: TakenDelivery, until: float) -> None:
        """Start no delivery of this line until then."""
        self._blocked[taken.line] = until

    def reserve(self, taken: TakenDelivery, addresses: frozenset[str], now: float) -> bool:
        """Take a slot at each address, and count the start. Returns False, and takes none, if one address has none left."""
        names = _names(taken, addresses)
        if any(self._receivers[name] >= CONCURRENT_PER_RECEIVER for name in names):
            return False
        self._receivers.update(names)
        since = max(now, self._paced.get(taken.key_id, now))
        self._paced[taken.key_id] = since + self._interval_s
        return True

    def unreserve(self, taken: TakenDelivery, addresses: frozenset[str]) -> None:
        """Release the slots that `reserve` took."""
        for name in _names(taken, addresses):
            self._release(name)

    def _release(self, name: str) -> None:
        self._receivers[name] -= 1
        if not self._receivers[name]:
            del self._receivers[name]


def _names(taken: TakenDelivery, addresses: frozenset[str]) -> list[str]:
    return [f"{taken.key_id} at {address}" for address in addresses]


def _later(times: dict[str, float], now: float) -> dict[str, float]:
    return {name: until for name, until in times.items() if until > now}
