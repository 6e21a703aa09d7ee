"""Keeps the images of requests in temporary files while they are fetched and checked, within a limit of bytes.

The files are in a private folder of the process. What a killed process left is deleted by the next one.
"""

import io
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.fair_slots import FairSlots
from app.storage.errors import StorageError

MAX_BYTES = 512 * 1024 * 1024
MAX_BYTES_PER_OWNER = 192 * 1024 * 1024  # a body of 64 MB and four images of 20 MB fit
_PREFIX = "klein-images-"


class ScratchFull(Exception):
    """The key has too many large images in progress; try again later."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentImage:
    """An image that came with a request: a file, or the text of a data URI as it stands in JSON."""

    path: Path
    is_uri: bool


class Scratch:
    """Creates folders for temporary files, within a limit of bytes for each owner and in all."""

    def __init__(
        self, max_bytes: int = MAX_BYTES, max_bytes_per_owner: int = MAX_BYTES_PER_OWNER
    ) -> None:
        self._bytes = FairSlots(max_bytes, max_bytes_per_owner)
        self._root: Path | None = None
        self._making_root = threading.Lock()

    @contextmanager
    def folder(self, owner: str) -> Iterator["ScratchFolder"]:
        """Create a folder, which is deleted with its files after the body."""
        folder = ScratchFolder(self._make_root, self._bytes, owner)
        try:
            yield folder
        finally:
            folder.delete()

    def close(self) -> None:
        """Delete all files."""
        if self._root is not None:
            shutil.rmtree(self._root, ignore_errors=True)
            self._root = None

    def _make_root(self) -> Path:
        with self._making_root:
            if self._root is None:
                for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
                    if not _is_of_another(left):
                        shutil.rmtree(left, ignore_errors=True)
                self._root = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
            return self._root


class ScratchFolder:
    """The temporary files of one request. Nothing exists before the first file. Safe for threads."""

    def __init__(self, make_root: Callable[[], Path], slots: FairSlots, owner: str) -> None:
        self._make_root = make_root
        self._slots = slots
        self._owner = owner
        self._reserved_bytes = 0
        self._path: Path | None = None
        self._making_path = threading.Lock()
        self._names = itertools.count()

    def reserve(self, size_bytes: int) -> None:
        """Count bytes against the limits. Raises ScratchFull."""
        if not self._slots.take(self._owner, size_bytes):
            raise ScratchFull
        self._reserved_bytes += size_bytes

    def create(self) -> "ScratchFile":
        """Create an empty file. Raises StorageError."""
        try:
            with self._making_path:
                if self._path is None:
                    self._path = Path(tempfile.mkdtemp(dir=self._make_root()))
            return ScratchFile(self._path / str(next(self._names)), self)
        except OSError as exc:
            raise StorageError(f"could not create a temporary file: {exc.strerror}") from exc

    def write(self, data: bytes) -> Path:
        """Write a file. Raises ScratchFull or StorageError."""
        with self.create() as file:
            file.write(data)
            return file.path

    def delete(self) -> None:
        """Delete the files."""
        if self._path is not None:
            shutil.rmtree(self._path, ignore_errors=True)
        self._slots.release(self._owner, self._reserved_bytes)
        self._reserved_bytes = 0


class ScratchFile(io.FileIO):
    """A temporary file that counts what is written to it."""

    def __init__(self, path: Path, folder: ScratchFolder) -> None:
        super().__init__(path, "x+")
        self.path = path
        self._folder = folder

    def write(self, data: Any) -> int:
        """Write all bytes. Raises ScratchFull or StorageError."""
        self._folder.reserve(len(data))
        left = memoryview(data)
        try:
            while left:
                left = left[super().write(left) :]
        except OSError as exc:
            raise StorageError(f"could not write a temporary file: {exc.strerror}") from exc
        return len(data)


def _is_of_another(folder: Path) -> bool:
    """Return whether a folder belongs to another process that runs, or to another user."""
    pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
    if not pid.isdigit() or folder.is_symlink():
        return True
    with suppress(OSError):
        if folder.stat().st_uid != os.getuid():
            return True
        if int(pid) != os.getpid():
            os.kill(int(pid), 0)
            return True
    return False
