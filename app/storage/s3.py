"""A bucket of an S3 server as storage; obstore signs, retries and sends in parts, outside Python's lock."""

import mimetypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, BinaryIO, Literal
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from app.logs import log
from app.storage.errors import FileMissing, StorageError
from app.storage.keys import names_of

READ_WITHIN = timedelta(hours=1)  # how long a presigned URL opens a file
CACHED = "private, max-age=31536000, immutable"  # a file never changes under its key
_CHUNK_BYTES = 1024 * 1024
_CLIENT: Any = {
    "allow_http": True,  # where the operator's own endpoint says http
    "connect_timeout": timedelta(seconds=3),
}
_RETRIES: Any = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2)},
}
_KEYLESS = "/latest/api/token"  # where a machine's role is asked for once there are no keys
_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")


class S3Storage:
    """Files below a prefix of one bucket; server, region and keys come from the AWS_* variables."""

    requirement = "the bucket must exist and the keys must have access: see STORAGE_URL and AWS_* in docs/storage.md"

    def __init__(
        self,
        bucket: str,
        prefix: str,
        public_url: str | None = None,
        within: timedelta = timedelta(seconds=20),  # a request; a large file is many
    ) -> None:
        """Say where; readers reach the same bucket at `public_url`, or where this process does.

        Raises ValueError where a variable is wrong.
        """
        try:
            self._open(bucket, prefix.strip("/") or None, public_url, _CLIENT | {"timeout": within})
        except (BaseError, ValueError) as exc:
            words = str(exc).partition("\n\nDebug source")[0]
            raise ValueError(f"STORAGE_URL, AWS_*: {words}") from None

    def _open(self, bucket: str, below: str | None, public_url: str | None, client: Any) -> None:
        at: Any = {"endpoint": public_url.rstrip("/")} if public_url else {}
        self._files = S3Store(bucket, prefix=below, client_options=client, retry_config=_RETRIES)
        self._reading = S3Store(bucket, prefix=below, client_options=client, **at)
        nobody = S3Store(bucket, access_key_id="x", secret_access_key="x", **at)  # noqa: S106 -- asks nobody for keys
        url = urlsplit(obstore.sign(nobody, "GET", "x", READ_WITHIN))
        self.origin = f"{url.scheme}://{url.netloc}"

    def put(self, key: str, data: bytes | BinaryIO) -> None:
        """Store a file whole or not at all. Raises StorageError."""
        names_of(key)
        media_type = mimetypes.guess_type(key)[0] or "application/octet-stream"
        told = {"Content-Type": media_type, "Cache-Control": CACHED}
        with _answers(f"could not store {key}"):
            obstore.put(self._files, key, data, attributes=told)

    def get(self, key: str, max_bytes: int | None = None) -> bytes:
        """Read a file, or no more than its first `max_bytes`. Raises FileMissing or StorageError."""
        names_of(key)
        data = bytearray()
        with _answers(f"could not read {key}", missing=key):
            for chunk in obstore.get(self._files, key).stream(_CHUNK_BYTES):
                data += chunk
                if max_bytes is not None and len(data) >= max_bytes:
                    break
        return bytes(data[:max_bytes])

    def delete(self, prefix: str) -> None:
        """Delete every file below a prefix; none is no error. Raises StorageError."""
        names_of(prefix)
        with _answers(f"could not delete {prefix}"):
            for found in list(obstore.list(self._files, prefix=prefix)):
                obstore.delete(self._files, [file["path"] for file in found])

    def locate(self, key: str, verb: Literal["GET", "HEAD"] = "GET") -> str:
        """Presign the URL of a file, for this verb alone. Raises FileMissing or StorageError."""
        names_of(key)
        with _answers(f"could not find {key}", missing=key):
            obstore.head(self._files, key)
            return obstore.sign(self._reading, verb, key, READ_WITHIN)


@contextmanager
def _answers(failed: str, missing: str | None = None) -> Iterator[None]:
    """Translate what the server, or the way to it, answered; its own words go to the log alone."""
    try:
        yield
    except (BaseError, OSError) as exc:
        words = str(exc)
        if (
            missing is not None
            and isinstance(exc, FileNotFoundError)
            and "NoSuchBucket" not in words
        ):
            raise FileMissing(missing) from None
        log.warning("s3_failed", failed=failed, error=words.partition("\n\nDebug source")[0])
        raise StorageError(f"{failed}: {_reason(words)}") from exc


def _reason(words: str) -> str:
    """Say in short what was wrong; the whole text names hosts."""
    if _KEYLESS in words:
        return "there are no keys for S3; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if code := _CODE.search(words):
        return f"S3 answered {code[1]}"
    if status := _STATUS.search(words):
        return f"S3 answered {status[1]}"
    return "S3 did not answer in time" if "TimedOut" in words else "S3 cannot be reached"
