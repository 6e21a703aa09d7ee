"""When an engine process has grown, or drawn, so much that a fresh one takes its place."""

import os
from pathlib import Path

SETTLED = 100  # orders after which a process has seen what it will be asked for
GROWN = 1.2  # times the most memory that it had until then
MOST = 5000  # orders


class RecyclePolicy:
    """Watches one process after the other."""

    def __init__(self, settled: int = SETTLED, most: int = MOST) -> None:
        self._settled = settled
        self._most = most
        self._pid: int | None = None
        self._orders = 0
        self._usual_bytes = 0

    def is_due(self, pid: int, size_bytes: int) -> bool:
        """Tell after each order, with the memory that the process holds, whether it is to be replaced."""
        if pid != self._pid:
            self._pid, self._orders, self._usual_bytes = pid, 0, 0
        self._orders += 1
        if self._orders <= self._settled:
            self._usual_bytes = max(self._usual_bytes, size_bytes)
            return False
        return self._orders >= self._most or size_bytes > self._usual_bytes * GROWN


def resident_bytes(pid: int) -> int:
    """Tell how much memory a process holds; 0 where the system does not say, or it has ended."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
