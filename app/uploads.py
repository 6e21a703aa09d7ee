"""Manages the files that callers upload as inputs: their owners, and when they are deleted.

Redis keys: `klein:upload:{id}` holds the record, `klein:uploads:expiry` ids by the time of deletion (s),
`klein:uploads:of:{key}` the uploaded files of an API key by age (s). `upload_quota` has those of the quota. An upload whose file
does not come is deleted when its URL ends.
"""

import hashlib
import threading
import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, BinaryIO, cast

import redis

from app.images.media_type import SUFFIXES
from app.lua.script import load_script
from app.predictions.clock import Clock
from app.predictions.errors import KleinError
from app.predictions.redis_errors import redis_errors
from app.predictions.sweep import NEVER, sweep
from app.records import Records
from app.storage import Storage
from app.upload_quota import UploadQuota, bytes_key, held_key

EXPIRY = "klein:uploads:expiry"
FOLDER = "uploads"
LARGEST_BYTES = 100 * 1024 * 1024
URL_LIVES = timedelta(minutes=15)
MIN_RETENTION = timedelta(minutes=1)
MAX_RETENTION = timedelta(days=365)
DEFAULT_RETENTION = timedelta(days=180)
CLAIM = timedelta(minutes=1)  # until an expired file that could not be deleted is tried again
_READ_BYTES = 1024 * 1024
_CHANGE = load_script("change_upload")
_OPEN = load_script("open_upload")
_COMPLETE = load_script("complete_upload")
_DELETE = load_script("delete_upload")
NAME_MAX_LENGTH = 255  # characters


class UnknownUpload(KleinError):
    """No such file: it was never sent, was deleted, or has expired. An upload URL is valid for 15 minutes."""


class AlreadySent(KleinError):
    """Another file was sent to this URL before, and files never change; request a new URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An upload, before or after its file is sent."""

    id: str
    key_id: str
    media_type: str
    opened_at: datetime
    expires_at: datetime
    name: str = ""  # as the caller named it
    metadata: dict[str, Any] = field(default_factory=dict)  # the caller's
    size_bytes: int | None = None  # None means not sent yet
    sha256: str = ""  # of the only file accepted, once one was received

    @property
    def key(self) -> str:
        """The storage key of the file."""
        return f"{_folder(self.id)}/file.{SUFFIXES[self.media_type]}"

    @property
    def url_expires_at(self) -> datetime:
        """The end of the time in which the file may be sent."""
        return self.opened_at + URL_LIVES


_RECORDS = Records(Upload)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadPage:
    """Some of a key's files, newest first, and how many there are in all."""

    uploads: list[Upload]
    total: int


class Uploads:
    """Reads and changes uploads. Safe for any number of processes."""

    def __init__(
        self, connection: "redis.Redis", storage: Storage, quota: UploadQuota | None = None
    ) -> None:
        self._redis = connection
        self._storage = storage
        self._quota = quota or UploadQuota()
        self._clock = Clock(connection)

    def open(
        self,
        key_id: str,
        media_type: str,
        retention: timedelta,
        *,
        name: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> Upload:
        """Create an upload, which expects a file. Raises TooManyRequests, DiskLow or Unavailable."""
        self._quota.check_disk(self._storage.free_bytes())
        now = self._clock.now()
        upload = Upload(
            id=str(uuid.uuid4()),
            key_id=key_id,
            media_type=media_type,
            opened_at=now,
            expires_at=now + min(max(retention, MIN_RETENTION), MAX_RETENTION),
            name=name[:NAME_MAX_LENGTH],
            metadata=metadata or {},
        )
        with redis_errors():
            is_open = _OPEN(
                self._redis,
                record=_record_key(upload.id),
                expiry=EXPIRY,
                held=held_key(key_id),
                value=_RECORDS.write(upload),
                id=upload.id,
                expires_s=min(upload.url_expires_at, upload.expires_at).timestamp(),
                limit=self._quota.limits_of(key_id).uploads,
            )
        if not is_open:
            raise self._quota.too_many_files(key_id)
        return upload

    def begin(self, upload: Upload, size_bytes: int) -> None:
        """Check early whether a file of this size may be stored, and let it arrive for as long as its URL lives.

        Raises TooManyRequests, DiskLow or Unavailable.
        """
        self._check_space(upload, size_bytes)
        if upload.size_bytes is None:
            ends = (self._clock.now() + URL_LIVES).timestamp()
            with redis_errors():
                self._redis.zadd(EXPIRY, {upload.id: ends}, xx=True, gt=True)

    def get(self, upload_id: str) -> Upload:
        """Read an upload. Raises UnknownUpload or Unavailable."""
        return _RECORDS.read(self._read(upload_id))

    def owned(self, key_id: str, upload_id: str) -> Upload:
        """Read an uploaded file of this key. Raises UnknownUpload or Unavailable."""
        upload = self.get(upload_id)
        if upload.key_id != key_id or upload.size_bytes is None:
            raise UnknownUpload(upload_id)
        return upload

    def place_after(self, key_id: str, upload_id: str) -> int:
        """Return how many of a key's uploaded files are newer than one, itself included. Raises UnknownUpload."""
        with redis_errors():
            rank = cast("int | None", self._redis.zrevrank(_of_key(key_id), upload_id))
        if rank is None:
            raise UnknownUpload(upload_id)
        return rank + 1

    def history(self, key_id: str, until: datetime, offset: int, limit: int) -> UploadPage:
        """Return a page of a key's uploaded files, newest first."""
        key, newest = _of_key(key_id), until.timestamp()
        with redis_errors():
            ids = cast(
                "list[bytes]",
                self._redis.zrange(
                    key, newest, "-inf", desc=True, byscore=True, offset=offset, num=limit
                ),
            )
            total = self._redis.zcount(key, "-inf", newest)
            records = self._redis.mget([_record_key(i.decode()) for i in ids]) if ids else []
        files = list(_RECORDS.read_each(cast("list[bytes | None]", records)))
        return UploadPage(uploads=files, total=total)

    def store(self, upload: Upload, file: BinaryIO) -> Upload:
        """Store the file of an upload. The same file sent again changes nothing.

        Raises StorageError, Unavailable, AlreadySent, TooManyRequests, or UnknownUpload if it was deleted meanwhile.
        """
        digest = hashlib.sha256()
        while part := file.read(_READ_BYTES):
            digest.update(part)
        claimed = self._claim(upload.id, digest.hexdigest())
        if claimed.size_bytes is not None:
            return claimed
        completed = replace(claimed, size_bytes=file.tell())
        self._check_space(upload, file.tell())
        record = self._read(upload.id)
        file.seek(0)
        self._storage.put(upload.key, file)
        with redis_errors():
            outcome = _COMPLETE(
                self._redis,
                record=_record_key(upload.id),
                uploads=_of_key(upload.key_id),
                expiry=EXPIRY,
                held=held_key(upload.key_id),
                bytes=bytes_key(upload.key_id),
                value=_RECORDS.write(completed, over=record),
                id=upload.id,
                opened_s=upload.opened_at.timestamp(),
                size=completed.size_bytes,
                max_bytes=self._quota.limits_of(upload.key_id).upload_bytes,
                expires_s=upload.expires_at.timestamp(),
            )
        if outcome != 1:
            self._storage.delete(_folder(upload.id))
            raise self._quota.too_many_bytes(upload.key_id) if outcome else UnknownUpload(upload.id)
        return completed

    def delete(self, key_id: str, upload_id: str) -> None:
        """Delete a file of this key, if it exists. Raises StorageError or Unavailable."""
        try:
            upload = self.get(upload_id)
        except UnknownUpload:
            return
        if upload.key_id == key_id:
            self._delete(upload_id)

    def expire(self, stopping: threading.Event = NEVER) -> int:
        """Delete expired files. Return how many. Raises Unavailable."""
        return sweep(self._claim_expired, self._delete, stopping)

    def _check_space(self, upload: Upload, size_bytes: int) -> None:
        self._quota.check_disk(self._storage.free_bytes())
        limit = self._quota.limits_of(upload.key_id).upload_bytes
        if limit is None or upload.size_bytes is not None:
            return
        with redis_errors():
            used = int(cast("bytes | None", self._redis.get(bytes_key(upload.key_id))) or 0)
        if used + size_bytes > limit:
            raise self._quota.too_many_bytes(upload.key_id)

    def _claim_expired(self, limit: int) -> list[str]:
        """Claim ids of expired uploads. Each is offered again after CLAIM, unless it is deleted."""
        now = self._clock.now()
        with redis_errors():
            due = cast(
                "list[bytes]",
                self._redis.zrange(
                    EXPIRY, "-inf", now.timestamp(), byscore=True, offset=0, num=limit
                ),
            )
            if due:
                again = (now + CLAIM).timestamp()
                self._redis.zadd(EXPIRY, dict.fromkeys(due, again), xx=True)
        return [upload_id.decode() for upload_id in due]

    def _claim(self, upload_id: str, sha256: str) -> Upload:
        """Fix the hash of the file before it is stored: clients may cache the file for ever."""
        while True:
            record = self._read(upload_id)
            upload = _RECORDS.read(record)
            if upload.sha256:
                if upload.sha256 != sha256:
                    raise AlreadySent(upload_id)
                return upload
            claimed = replace(upload, sha256=sha256)
            with redis_errors():
                if _CHANGE(
                    self._redis,
                    record=_record_key(upload_id),
                    old=record,
                    new=_RECORDS.write(claimed, over=record),
                ):
                    return claimed

    def _read(self, upload_id: str) -> bytes:
        with redis_errors():
            record = cast("bytes | None", self._redis.get(_record_key(upload_id)))
        if record is None:
            raise UnknownUpload(upload_id)
        return record

    def _delete(self, upload_id: str) -> None:
        try:
            key_id = self.get(upload_id).key_id
        except UnknownUpload:
            pass  # an earlier run deleted the record and then failed
        else:
            with redis_errors():
                _DELETE(  # first, so that a concurrent PUT notices
                    self._redis,
                    record=_record_key(upload_id),
                    uploads=_of_key(key_id),
                    held=held_key(key_id),
                    bytes=bytes_key(key_id),
                    id=upload_id,
                )
        self._storage.delete(_folder(upload_id))
        with redis_errors():
            self._redis.zrem(
                EXPIRY, upload_id
            )  # last, so that the next run tries again after a failure


def _record_key(upload_id: str) -> str:
    return f"klein:upload:{upload_id}"


def _of_key(key_id: str) -> str:
    return f"klein:uploads:of:{key_id}"


def _folder(upload_id: str) -> str:
    return f"{FOLDER}/{upload_id}"
