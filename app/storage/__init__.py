"""Stores files: the protocol of a storage, and `open_storage`. Each kind of storage is a module."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal, Protocol
from urllib.parse import unquote, urlsplit

from app.storage.local import LocalStorage


class Storage(Protocol):
    """Stores bytes by key. A key is a relative path of plain names, separated by `/`."""

    @property
    def requirement(self) -> str:
        """What an operator must provide for this storage to work. `klein doctor` prints it."""

    @property
    def origin(self) -> str | None:
        """The origin of the URLs that `locate` returns, for Content-Security-Policy, or None if it returns paths."""

    def put(self, key: str, data: bytes | BinaryIO) -> None:
        """Store a file atomically. Raises StorageError."""

    def get(self, key: str, max_bytes: int | None = None) -> bytes:
        """Read a file, or its first `max_bytes`. Raises FileMissing or StorageError."""

    def read(self, key: str) -> Iterator[bytes]:
        """Read a file of any size in parts. Raises FileMissing or StorageError."""

    def delete(self, prefix: str) -> None:
        """Delete all files below a prefix, if there are any. Raises StorageError."""

    def free_bytes(self) -> int | None:
        """Return how much can be stored, or None if that is not known."""

    def locate(self, key: str, verb: Literal["GET", "HEAD"] = "GET") -> Path | str:
        """Return a local path or a URL from which to serve a file. Raises FileMissing or StorageError."""


def open_storage(url: str, public_url: str | None = None) -> Storage:
    """Open the storage of a URL. Clients reach it at `public_url`. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return LocalStorage(Path(unquote(parts.path)))
    if parts.scheme == "s3" and re.fullmatch(r"[a-z0-9][a-z0-9.-]+", parts.netloc):
        from app.storage.s3 import S3Storage  # noqa: PLC0415 -- its library loads only where it is used

        return S3Storage(parts.netloc, unquote(parts.path), public_url)
    raise ValueError("STORAGE_URL: names no storage; use file:///folder or s3://bucket/prefix")
