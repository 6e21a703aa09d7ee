"""Where files live: one protocol, one `open_storage`, one module for each kind of place."""

import re
from pathlib import Path
from typing import BinaryIO, Literal, Protocol
from urllib.parse import unquote, urlsplit

from app.storage.local import LocalStorage
from app.storage.s3 import S3Storage


class Storage(Protocol):
    """Bytes by key; a key is a `/`-separated relative path of plain names."""

    @property
    def requirement(self) -> str:
        """What an operator must provide for this storage to work; `klein doctor` prints it."""

    @property
    def origin(self) -> str | None:
        """Where the URLs of `locate` lead, for policies that name origins; None where there are paths."""

    def put(self, key: str, data: bytes | BinaryIO) -> None:
        """Store a file whole or not at all. Raises StorageError."""

    def get(self, key: str, max_bytes: int | None = None) -> bytes:
        """Read a file, or no more than its first `max_bytes`. Raises FileMissing or StorageError."""

    def delete(self, prefix: str) -> None:
        """Delete every file below a prefix; none is no error. Raises StorageError."""

    def locate(self, key: str, verb: Literal["GET", "HEAD"] = "GET") -> Path | str:
        """Tell where a file can be served from: a path here, or a URL. Raises FileMissing or StorageError."""


def open_storage(url: str, public_url: str | None = None) -> Storage:
    """Open the storage that a URL names, which readers reach at `public_url`. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return LocalStorage(Path(unquote(parts.path)))
    if parts.scheme == "s3" and re.fullmatch(r"[a-z0-9][a-z0-9.-]+", parts.netloc):
        return S3Storage(parts.netloc, unquote(parts.path), public_url)
    raise ValueError("STORAGE_URL: names no storage; use file:///folder or s3://bucket/prefix")
