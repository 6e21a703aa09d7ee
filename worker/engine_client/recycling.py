"""Decides when a fresh engine process replaces one that uses too much memory or is old."""

import os
from pathlib import Path

BASELINE_ORDERS = 100
"""Orders after which the memory of a process should no longer grow."""
MAX_GROWTH = 1.2
"""Times the peak memory of the baseline."""
MAX_ORDERS = 5000


class RecyclePolicy:
    """Tracks the memory and the orders of the current engine process."""

    def __init__(
        self, baseline_orders: int = BASELINE_ORDERS, max_orders: int = MAX_ORDERS
    ) -> None:
        self._baseline_orders = baseline_orders
        self._max_orders = max_orders
        self._pid: int | None = None
        self._orders = 0
        self._baseline_bytes = 0

    def is_due(self, pid: int, size_bytes: int) -> bool:
        """Count an order of this process and return whether the process must be replaced."""
        if pid != self._pid:
            self._pid, self._orders, self._baseline_bytes = pid, 0, 0
        self._orders += 1
        if self._orders <= self._baseline_orders:
            self._baseline_bytes = max(self._baseline_bytes, size_bytes)
            return False
        return self._orders >= self._max_orders or size_bytes > self._baseline_bytes * MAX_GROWTH


def resident_bytes(pid: int) -> int:
    """Read the resident memory of a process. Returns 0 if it has ended or the system has no /proc."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
