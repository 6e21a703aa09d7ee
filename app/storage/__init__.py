"""Where files live: one protocol, one `open_storage`, one module for each kind of place."""

from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from app.storage.local import LocalStorage


class Storage(Protocol):
    """Bytes by key; a key is a `/`-separated relative path of plain names."""

    def put(self, key: str, data: bytes | BinaryIO) -> None:
        """Store a file whole or not at all. Raises StorageError."""

    def get(self, key: str, most_bytes: int | None = None) -> bytes:
        """Read a file, or no more than its first `most_bytes`. Raises FileMissing or StorageError."""

    def delete(self, prefix: str) -> None:
        """Delete every file below a prefix; none is no error. Raises StorageError."""

    def locate(self, key: str) -> Path | str:
        """Tell where a file can be served from: a path here, or a URL. Raises FileMissing."""


def open_storage(url: str) -> Storage:
    """Open the storage that a URL names: `file:///folder`. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "file":
        raise ValueError(
            f"STORAGE_URL: {parts.scheme or url!r} is not a kind of storage; use file:///folder"
        )
    return LocalStorage(Path(unquote(parts.path)))
