"""Reads the memory of the host, or of the container if it has less."""

import os
from contextlib import suppress
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def host_memory_bytes(cgroup: Path = _CGROUP) -> int:
    """Return the total memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no limit is "max"
        return min(memory, int((cgroup / "memory.max").read_text()))
    return memory


def available_memory_bytes(cgroup: Path = _CGROUP, meminfo: Path = _MEMINFO) -> int:
    """Return the memory that can be taken without swapping. 0 if the system does not say."""
    try:
        available = int(meminfo.read_text().partition("MemAvailable:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return 0
    with suppress(OSError, ValueError):
        limit = int((cgroup / "memory.max").read_text())
        return min(available, limit - int((cgroup / "memory.current").read_text()))
    return available
