"""Limits the connections that have no request in progress: new ones, those whose headers are not complete, and idle ones.

The oldest are closed first. Ordinary clients send their headers at once, so theirs are served before they are the oldest.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

MB = 1024 * 1024


class Connection(Protocol):
    """A connection that can be closed."""

    def abort(self) -> None:
        """Close the connection at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many connections may be unserved, and how many bytes of headers they may have sent."""

    connections: int
    size_bytes: int


OF_ADDRESS = Limits(connections=4_000, size_bytes=8 * MB)
IN_ALL = Limits(connections=12_000, size_bytes=48 * MB)


class Unserved:
    """The unserved connections of one process; use it on one event loop."""

    def __init__(self, of_address: Limits = OF_ADDRESS, in_all: Limits = IN_ALL) -> None:
        self._of_address = of_address
        self._all = _Group(in_all)
        self._groups: dict[str, _Group] = {}
        self._addresses: dict[Connection, str] = {}

    def add(self, connection: Connection, address: str, size_bytes: int = 0) -> None:
        """Count a connection, or bytes that it has sent. The oldest ones above a limit are closed."""
        group = self._groups.setdefault(address, _Group(self._of_address))
        self._addresses[connection] = address
        for each in (self._all, group):
            each.add(connection, size_bytes)
        for each in (self._all, group):
            while (oldest := each.oldest_above_limit()) is not None:
                self.remove(oldest)
                oldest.abort()

    def remove(self, connection: Connection) -> None:
        """Count a connection no more: its request is being served, or it is closed."""
        address = self._addresses.pop(connection, None)
        if address is None:
            return
        for each in (self._all, self._groups[address]):
            each.remove(connection)
        if not self._groups[address]:
            del self._groups[address]


class _Group:
    """Connections with a limit, the oldest first."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sizes: OrderedDict[Connection, int] = OrderedDict()
        self._size_bytes = 0

    def add(self, connection: Connection, size_bytes: int) -> None:
        self._sizes[connection] = self._sizes.get(connection, 0) + size_bytes
        self._size_bytes += size_bytes

    def remove(self, connection: Connection) -> None:
        self._size_bytes -= self._sizes.pop(connection)

    def oldest_above_limit(self) -> Connection | None:
        is_within = (
            len(self._sizes) <= self._limits.connections
            and self._size_bytes <= self._limits.size_bytes
        )
        return None if is_within else next(iter(self._sizes))

    def __len__(self) -> int:
        return len(self._sizes)
