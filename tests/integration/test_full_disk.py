"""A disk that is really full: a partial file is never visible, and existing files stay."""

import os
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.predictions.failure import Cause
from app.predictions.prediction import Status
from app.storage.errors import StorageError
from app.storage.local import LocalStorage
from tests.support import processes
from tests.support.fakes import a_prediction, a_result, a_store
from worker.job.leases import Lease, Leases
from worker.job.publisher import Publisher

MEGABYTE = 1 << 20
LIMITED = """
import resource, sys
from pathlib import Path
from app.storage.errors import StorageError
from app.storage.local import LocalStorage

resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
storage = LocalStorage(Path(sys.argv[1]))
try:
    storage.put("p/a/0.png", b"x" * 8192)
except StorageError as exc:
    print(exc)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
storage.put("p/a/0.png", b"x" * 8192)
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte. Skips if this machine does not allow mounting one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not shutil.which("mount") or processes.run(mount).returncode:
        pytest.skip("cannot mount a file system here; another test uses a file size limit instead")
    yield folder
    processes.run(["umount", str(folder)], check=True)


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_full_disk_leaves_no_partial_file(small_disk: Path) -> None:
    """A file that does not fit raises and leaves nothing. Once there is room the same file is stored."""
    storage = LocalStorage(small_disk)
    (small_disk / "ballast").write_bytes(b"x" * (MEGABYTE - 16_384))
    storage.put("p/a/0.png", b"small")
    with pytest.raises(StorageError, match="No space left"):
        storage.put("p/a/1.png", os.urandom(MEGABYTE // 2))

    assert files(small_disk) == ["ballast", "p/a/0.png"]
    (small_disk / "ballast").unlink()
    storage.put("p/a/1.png", b"y" * (MEGABYTE // 2))
    assert storage.get("p/a/0.png") == b"small"


def test_full_disk_fails_prediction_with_reason(small_disk: Path, connection) -> None:
    """An image that does not fit is retried, then its prediction fails as retryable. The next one succeeds."""
    store = a_store(connection)
    leases = Leases(store)
    publisher = Publisher(store, LocalStorage(small_disk), leases, pause_s=0.001)
    store.add(a_prediction("p"))
    claimed = store.change("p", lambda p, now: p.claim("a", now))
    with (small_disk / "ballast").open("wb") as ballast:
        ballast.write(b"x" * MEGABYTE)
    publisher.publish(Lease(prediction=claimed, owner="a"), a_result())
    publisher.close()
    ended = store.get("p")

    assert ended.failure is not None
    assert (ended.failure.cause, ended.failure.is_retryable) == (Cause.STORAGE, True)
    assert "No space left" in ended.failure.message
    assert ended.outputs == ()
    (small_disk / "ballast").unlink()
    assert files(small_disk) == []
    publisher = Publisher(store, LocalStorage(small_disk), leases, pause_s=0.001)
    store.add(a_prediction("q"))
    claimed = store.change("q", lambda p, now: p.claim("a", now))
    publisher.publish(Lease(prediction=claimed, owner="a"), a_result())
    publisher.close()
    assert store.get("q").status is Status.SUCCEEDED


def test_file_size_limit_leaves_no_partial_file(tmp_path: Path) -> None:
    """If the kernel refuses the write halfway, the error says so, and nothing is left of the file."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    result = processes.run([sys.executable, "-c", LIMITED, str(tmp_path)], check=True)

    assert result.stdout.strip() == "could not store p/a/0.png: File too large"
    assert files(tmp_path) == ["p/a/0.png"]


def test_write_in_place_leaves_partial_file(small_disk: Path) -> None:
    """Written in place, a file that does not fit is visible in part, so the tests above can fail."""
    (small_disk / "ballast").write_bytes(b"x" * (MEGABYTE // 2))
    half = small_disk / "0.png"
    with pytest.raises(OSError, match="No space left"):
        half.write_bytes(b"x" * MEGABYTE)

    assert 0 < half.stat().st_size < MEGABYTE
