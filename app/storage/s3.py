"""Stores files in an S3 bucket. The library obstore signs, retries and uploads in parts, without holding the GIL."""

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

URL_VALID_FOR = timedelta(hours=1)  # of presigned URLs
CACHED = "private, max-age=31536000, immutable"  # a file never changes under its key
_PART_BYTES = 1024 * 1024
_CLIENT: Any = {
    "allow_http": True,  # an operator's endpoint may use http
    "connect_timeout": timedelta(seconds=3),
}
_RETRIES: Any = {
    "max_retries": 2,
    "retry_timeout": timedelta(seconds=10),
    "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=2)},
}
_METADATA_PATH = "/latest/api/token"  # requested for the role of the machine if no keys are set
_CODE = re.compile(r"<Code>(\w+)</Code>")
_STATUS = re.compile(r"status code: (\d{3})")


class S3Storage:
    """Stores files below a prefix of a bucket. Endpoint, region and keys come from the AWS_* variables."""

    requirement = "the bucket must exist and the keys must have access: see STORAGE_URL and AWS_* in docs/storage.md"

    def __init__(
        self,
        bucket: str,
        prefix: str,
        public_url: str | None = None,
        within: timedelta = timedelta(seconds=20),  # of one request; a large file takes several
    ) -> None:
        """Open the bucket. Clients reach it at `public_url`, or at the endpoint of this process.

        Raises ValueError if a variable is invalid.
        """
        try:
            self._open(bucket, prefix.strip("/") or None, public_url, _CLIENT | {"timeout": within})
        except (BaseError, ValueError) as exc:
            message = str(exc).partition("\n\nDebug source")[0]
            raise ValueError(f"STORAGE_URL, AWS_*: {message}") from None

    def _open(self, bucket: str, below: str | None, public_url: str | None, client: Any) -> None:
        at: Any = {"endpoint": public_url.rstrip("/")} if public_url else {}
        self._files = S3Store(bucket, prefix=below, client_options=client, retry_config=_RETRIES)
        self._reading = S3Store(bucket, prefix=below, client_options=client, **at)
        signer = S3Store(bucket, access_key_id="x", secret_access_key="x", **at)  # noqa: S106 -- needs no real keys
        url = urlsplit(obstore.sign(signer, "GET", "x", URL_VALID_FOR))
        self.origin = f"{url.scheme}://{url.netloc}"

    def put(self, key: str, data: bytes | BinaryIO) -> None:
        """Store a file atomically. Raises StorageError."""
        names_of(key)
        media_type = mimetypes.guess_type(key)[0] or "application/octet-stream"
        attributes = {"Content-Type": media_type, "Cache-Control": CACHED}
        with _s3_errors(f"could not store {key}"):
            obstore.put(self._files, key, data, attributes=attributes)

    def get(self, key: str, max_bytes: int | None = None) -> bytes:
        """Read a file, or its first `max_bytes`. Raises FileMissing or StorageError."""
        data = bytearray()
        for part in self.read(key):
            data += part
            if max_bytes is not None and len(data) >= max_bytes:
                break
        return bytes(data[:max_bytes])

    def read(self, key: str) -> Iterator[bytes]:
        """Read a file of any size in parts. Raises FileMissing or StorageError."""
        names_of(key)
        with _s3_errors(f"could not read {key}", missing=key):
            for part in obstore.get(self._files, key).stream(_PART_BYTES):
                yield bytes(part)

    def delete(self, prefix: str) -> None:
        """Delete all files below a prefix, if there are any. Raises StorageError."""
        names_of(prefix)
        with _s3_errors(f"could not delete {prefix}"):
            for page in list(obstore.list(self._files, prefix=prefix)):
                obstore.delete(self._files, [file["path"] for file in page])

    def free_bytes(self) -> int | None:
        """Return None, because a bucket has no size."""
        return None

    def locate(self, key: str, verb: Literal["GET", "HEAD"] = "GET") -> str:
        """Return a presigned URL of a file, valid for this method only. Raises FileMissing or StorageError."""
        names_of(key)
        with _s3_errors(f"could not find {key}", missing=key):
            obstore.head(self._files, key)
            return obstore.sign(self._reading, verb, key, URL_VALID_FOR)


@contextmanager
def _s3_errors(failed: str, missing: str | None = None) -> Iterator[None]:
    """Translate errors of S3 or the network. Their full text goes only to the log."""
    try:
        yield
    except (BaseError, OSError) as exc:
        message = str(exc)
        if (
            missing is not None
            and isinstance(exc, FileNotFoundError)
            and "NoSuchBucket" not in message
        ):
            raise FileMissing(missing) from None
        log.warning("s3_failed", failed=failed, error=message.partition("\n\nDebug source")[0])
        raise StorageError(f"{failed}: {_reason(message)}") from exc


def _reason(message: str) -> str:
    """Shorten an error message, because the full text contains host names."""
    if _METADATA_PATH in message:
        return "there are no keys for S3; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if code := _CODE.search(message):
        return f"S3 answered {code[1]}"
    if status := _STATUS.search(message):
        return f"S3 answered {status[1]}"
    return "S3 did not answer in time" if "TimedOut" in message else "S3 cannot be reached"
