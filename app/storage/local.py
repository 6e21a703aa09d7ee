"""Stores files in a folder: `put` writes to disk, then renames, so that a file appears whole."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal

from app.storage.errors import FileMissing, StorageError
from app.storage.keys import names_of

_PART_BYTES = 1024 * 1024


class LocalStorage:
    """Stores files below one folder. No key reaches outside it."""

    origin = None
    requirement = "let klein write there, or set STORAGE_URL or KLEIN_DATA"

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def put(self, key: str, data: bytes | BinaryIO) -> None:
        """Store a file atomically. Raises StorageError."""
        path = self._path(key)
        folder, _, name = path.rpartition("/")
        unfinished = f"{folder}/.{name}.{os.urandom(4).hex()}"
        try:
            _make_folder(folder)
            with open(unfinished, "wb") as file:
                if isinstance(data, bytes):
                    file.write(data)
                else:
                    shutil.copyfileobj(data, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, path)
            _sync_folder(folder)
        except OSError as exc:
            with suppress(OSError):
                os.unlink(unfinished)
            raise StorageError(f"could not store {key}: {exc.strerror}") from exc

    def get(self, key: str, max_bytes: int | None = None) -> bytes:
        """Read a file, or its first `max_bytes`. Raises FileMissing or StorageError."""
        with self._opened(key) as file:
            return file.read(-1 if max_bytes is None else max_bytes)

    def read(self, key: str) -> Iterator[bytes]:
        """Read a file of any size in parts. Raises FileMissing or StorageError."""
        with self._opened(key) as file:
            while part := file.read(_PART_BYTES):
                yield part

    def delete(self, prefix: str) -> None:
        """Delete the folder of a prefix, if it exists. Raises StorageError."""
        try:
            shutil.rmtree(self._path(prefix))
        except FileNotFoundError:
            return
        except OSError as exc:
            raise StorageError(f"could not delete {prefix}: {exc.strerror}") from exc

    def free_bytes(self) -> int | None:
        """Return the free space of the disk, or None if it cannot be read."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            return shutil.disk_usage(self._root).free
        except OSError:
            return None

    def locate(self, key: str, verb: Literal["GET", "HEAD"] = "GET") -> Path:  # noqa: ARG002 -- a path serves both
        """Return the path of a file. Raises FileMissing."""
        path = self._path(key)
        if not os.path.isfile(path):
            raise FileMissing(key)
        return Path(path)

    @contextmanager
    def _opened(self, key: str) -> Iterator[BinaryIO]:
        """Open a file to read. Raises FileMissing or StorageError, also for errors of the body."""
        try:
            with open(self._path(key), "rb") as file:
                yield file
        except FileNotFoundError:
            raise FileMissing(key) from None
        except OSError as exc:
            raise StorageError(f"could not read {key}: {exc.strerror}") from exc

    def _path(self, key: str) -> str:
        path, is_there = str(self._root), True
        for name in names_of(key):
            path = f"{path}/{name}"
            if is_there:
                is_there = self._exists_inside(path, key)
        return path

    def _exists_inside(self, path: str, key: str) -> bool:
        """Return whether there is a file or a folder at a path. Raises FileMissing for a link that leads outside."""
        try:
            is_link = stat.S_ISLNK(os.lstat(path).st_mode)
        except OSError:  # nothing is there, so nothing below it leads outside
            return False
        if is_link and not Path(path).resolve().is_relative_to(self._root):
            raise FileMissing(key)
        return True


def _make_folder(path: str) -> None:
    """Create a folder and those above it, unless they exist. `os.makedirs` calls five functions for each."""
    with suppress(FileExistsError):
        try:
            os.mkdir(path)
        except FileNotFoundError:
            _make_folder(path.rpartition("/")[0])
            os.mkdir(path)  # not once more: the folder above may be a link to nothing


def _sync_folder(folder: str) -> None:
    """Flush a folder to disk, which makes a rename durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
