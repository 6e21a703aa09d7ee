"""Files that callers upload to name them as inputs: who owns each, and until when it is kept.

Keys: `klein:upload:{id}` the record · `klein:uploads:expiry` ids by the time (s) at which they are deleted ·
`klein:uploads:of:{key}` an API key's files that came, by age (s).
"""

import hashlib
import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, BinaryIO, cast

import redis

from app.images.media_type import SUFFIXES
from app.logs import log
from app.lua.script import load_script
from app.predictions.clock import Clock
from app.predictions.errors import KleinError
from app.predictions.redis_errors import redis_errors
from app.records import Records
from app.storage import Storage
from app.storage.errors import StorageError

EXPIRY = "klein:uploads:expiry"
FOLDER = "uploads"
LARGEST_BYTES = 100 * 1024 * 1024
URL_LIVES = timedelta(minutes=15)
KEPT_LEAST = timedelta(minutes=1)
KEPT_MOST = timedelta(days=365)
KEPT = timedelta(days=180)
SWEEP = 100  # at a time
_READ_BYTES = 1024 * 1024
_CHANGE = load_script("change_upload")
_COMPLETE = load_script("complete_upload")


class UnknownUpload(KleinError):
    """No such file: it never came, was deleted, or has expired. A URL to send one to lives 15 minutes."""


class AlreadySent(KleinError):
    """Another file was sent to this URL before, and what is there never changes; ask for a new URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that may come, or has come."""

    id: str
    key_id: str
    media_type: str
    opened_at: datetime
    expires_at: datetime
    name: str = ""  # the caller's own
    metadata: dict[str, Any] = field(default_factory=dict)  # the caller's own too
    size_bytes: int | None = None  # None: it has not come
    sha256: str = ""  # of the only file that may come, from the moment one was there whole

    @property
    def key(self) -> str:
        """Name the file in the storage."""
        return f"{_folder(self.id)}/file.{SUFFIXES[self.media_type]}"

    @property
    def url_expires_at(self) -> datetime:
        """Tell until when the file may be sent."""
        return self.opened_at + URL_LIVES


_RECORDS = Records(Upload)


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadPage:
    """A stretch of a key's files, newest first."""

    uploads: list[Upload]
    total: int


class Uploads:
    """The uploads of all keys, for any number of processes."""

    def __init__(self, connection: "redis.Redis", storage: Storage) -> None:
        self._redis = connection
        self._storage = storage
        self._clock = Clock(connection)

    def open(
        self,
        key_id: str,
        media_type: str,
        kept: timedelta,
        *,
        name: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> Upload:
        """Expect a file. Raises Unavailable."""
        now = self._clock.now()
        upload = Upload(
            id=str(uuid.uuid4()),
            key_id=key_id,
            media_type=media_type,
            opened_at=now,
            expires_at=now + min(max(kept, KEPT_LEAST), KEPT_MOST),
            name=name,
            metadata=metadata or {},
        )
        with redis_errors(), self._redis.pipeline() as both:
            both.set(_record_key(upload.id), _RECORDS.write(upload))
            both.zadd(EXPIRY, {upload.id: upload.expires_at.timestamp()})
            both.execute()
        return upload

    def get(self, upload_id: str) -> Upload:
        """Read what is known of an upload. Raises UnknownUpload or Unavailable."""
        return _RECORDS.read(self._read(upload_id))

    def owned(self, key_id: str, upload_id: str) -> Upload:
        """Read what is known of this key's file that came. Raises UnknownUpload or Unavailable."""
        upload = self.get(upload_id)
        if upload.key_id != key_id or upload.size_bytes is None:
            raise UnknownUpload(upload_id)
        return upload

    def history(self, key_id: str, until: datetime, offset: int, limit: int) -> UploadPage:
        """Page through a key's files that came, newest first."""
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
        found = [_RECORDS.read(r) for r in cast("list[bytes | None]", records) if r]
        return UploadPage(uploads=found, total=total)

    def store(self, upload: Upload, file: BinaryIO) -> Upload:
        """Keep the file that came; the same file sent again changes nothing.

        Raises StorageError, Unavailable, AlreadySent, or UnknownUpload if it was deleted meanwhile.
        """
        digest = hashlib.sha256()
        while part := file.read(_READ_BYTES):
            digest.update(part)
        claimed = self._claim(upload.id, digest.hexdigest())
        if claimed.size_bytes is not None:
            return claimed
        came = replace(claimed, size_bytes=file.tell())
        record = self._read(upload.id)
        file.seek(0)
        self._storage.put(upload.key, file)
        with redis_errors():
            is_wanted = _COMPLETE(
                self._redis,
                record=_record_key(upload.id),
                uploads=_of_key(upload.key_id),
                value=_RECORDS.write(came, over=record),
                id=upload.id,
                opened_s=upload.opened_at.timestamp(),
            )
        if not is_wanted:
            self._storage.delete(_folder(upload.id))
            raise UnknownUpload(upload.id)
        return came

    def delete(self, key_id: str, upload_id: str) -> None:
        """Delete a file of this key; nothing happens where it has none. Raises StorageError or Unavailable."""
        try:
            upload = self.get(upload_id)
        except UnknownUpload:
            return
        if upload.key_id == key_id:
            self._delete(upload_id)

    def expire(self) -> int:
        """Delete what is no longer kept; tell how many."""
        with redis_errors():
            due = cast(
                "list[bytes]",
                self._redis.zrange(
                    EXPIRY, "-inf", self._clock.now().timestamp(), byscore=True, offset=0, num=SWEEP
                ),
            )
        deleted = 0
        for upload_id in (member.decode() for member in due):
            try:
                self._delete(upload_id)
            except StorageError as exc:  # the next sweep tries again, and the others go meanwhile
                log.warning("files_not_deleted", upload=upload_id, error=str(exc))
                continue
            deleted += 1
        return deleted

    def _claim(self, upload_id: str, sha256: str) -> Upload:
        """Let this be the upload's file for good, before it is stored: readers may cache it for ever."""
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
            pass  # a sweep that failed half-way has forgotten it already
        else:
            with redis_errors(), self._redis.pipeline() as both:
                both.delete(_record_key(upload_id))  # first: a PUT that ends now sees it
                both.zrem(_of_key(key_id), upload_id)
                both.execute()
        self._storage.delete(_folder(upload_id))
        with redis_errors():
            self._redis.zrem(EXPIRY, upload_id)  # last: until then a sweep tries again


def _record_key(upload_id: str) -> str:
    return f"klein:upload:{upload_id}"


def _of_key(key_id: str) -> str:
    return f"klein:uploads:of:{key_id}"


def _folder(upload_id: str) -> str:
    return f"{FOLDER}/{upload_id}"
