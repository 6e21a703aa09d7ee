"""The memory of the host, in a container that has less of it."""

from pathlib import Path

import pytest

from worker.engines.host_memory import available_memory_bytes, host_memory_bytes

GB = 10**9


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal: 32000000 kB\nMemFree: 1 kB\nMemAvailable:   20000000 kB\n")
    return file


@pytest.mark.parametrize(
    ("limit", "current", "available"),
    [
        ("max", "5", 20_480_000_000),
        (str(8 * GB), str(3 * GB), 5 * GB),
        (None, None, 20_480_000_000),
    ],
)
def test_available_memory(
    tmp_path: Path, meminfo: Path, limit: str | None, current: str | None, available: int
) -> None:
    """The available memory is that of the machine, or what the container's limit leaves."""
    if limit is not None and current is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text(f"{current}\n")

    assert available_memory_bytes(tmp_path, meminfo) == available


def test_unknown_memory_is_none(tmp_path: Path) -> None:
    """Where the system does not say, no memory counts as available."""
    assert available_memory_bytes(tmp_path, tmp_path / "missing") == 0


def test_limit_of_container_is_total(tmp_path: Path) -> None:
    """A container's limit counts as its memory."""
    (tmp_path / "memory.max").write_text("1000\n")

    assert host_memory_bytes(tmp_path) == 1000
