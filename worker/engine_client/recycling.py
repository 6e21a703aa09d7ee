"""Decides when a fresh engine process replaces one whose memory grows."""

import os

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
BASELINE_ORDERS = 100
"""Orders after which the memory of a process should no longer grow."""
MAX_GROWTH = 1.2
"""Times the peak memory of the baseline. A process that passes it is replaced when it has no work."""
URGENT_GROWTH = 2.0
"""A process that passes this is replaced between two batches, also while predictions wait."""


class RecyclePolicy:
    """Tracks the memory of the current engine process, after each of its orders."""

    def __init__(self, baseline_orders: int = BASELINE_ORDERS) -> None:
        self._baseline_orders = baseline_orders
        self._pid: int | None = None
        self._orders = 0
        self._baseline_bytes = 0
        self._size_bytes = 0

    def record(self, pid: int, size_bytes: int) -> None:
        """Count an order of this process, and take its memory without the caches that may grow."""
        if pid != self._pid:
            self._pid, self._orders, self._baseline_bytes = pid, 0, 0
        self._orders += 1
        self._size_bytes = size_bytes
        if self._orders <= self._baseline_orders:
            self._baseline_bytes = max(self._baseline_bytes, size_bytes)

    def is_due(self, pid: int | None) -> bool:
        """Return whether this process must be replaced once it has no work."""
        return self._has_grown(pid, MAX_GROWTH)

    def is_urgent(self, pid: int | None) -> bool:
        """Return whether this process must be replaced after this batch."""
        return self._has_grown(pid, URGENT_GROWTH)

    def _has_grown(self, pid: int | None, growth: float) -> bool:
        is_measured = pid == self._pid and self._orders > self._baseline_orders
        return is_measured and self._size_bytes > self._baseline_bytes * growth


def private_bytes(pid: int) -> int:
    """Read the memory of a process that belongs to it alone, without mapped files such as weights.

    Returns 0 if it has ended or the system has no /proc.
    """
    try:
        file = os.open(f"/proc/{pid}/statm", os.O_RDONLY)
    except OSError:
        return 0
    try:
        _, resident, shared, *_ = os.read(file, 1024).split()  # in pages
    except (OSError, ValueError):
        return 0
    finally:
        os.close(file)
    return (int(resident) - int(shared)) * _PAGE_BYTES
