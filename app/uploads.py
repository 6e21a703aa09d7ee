"""Files that callers upload to name them as inputs: who owns each, and until when it is kept.

Keys: `klein:upload:{id}` the record · `klein:uploads:expiry` ids by the time (s) at which they are deleted.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO, cast

import redis
from pydantic import TypeAdapter

from app.images.media_type import SUFFIXES
from app.logs import log
from app.predictions.clock import Clock
from app.predictions.errors import KleinError
from app.predictions.outage import redis_errors
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


class UnknownUpload(KleinError):
    """No such upload, or its 15 minutes are over; POST /v1/upload/presign gives a new URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that may come, or has come."""

    id: str
    key_id: str
    media_type: str
    opened_at: datetime
    expires_at: datetime

    @property
    def key(self) -> str:
        """Name the file in the storage."""
        return f"{_folder(self.id)}/file.{SUFFIXES[self.media_type]}"

    @property
    def url_expires_at(self) -> datetime:
        """Tell until when the file may be sent."""
        return self.opened_at + URL_LIVES


_RECORD = TypeAdapter(Upload)


class Uploads:
    """The uploads of all keys, for any number of processes."""

    def __init__(self, connection: "redis.Redis", storage: Storage) -> None:
        self._redis = connection
        self._storage = storage
        self._clock = Clock(connection)

    def open(self, key_id: str, media_type: str, kept: timedelta) -> Upload:
        """Expect a file. Raises Unavailable."""
        now = self._clock.now()
        upload = Upload(
            id=str(uuid.uuid4()),
            key_id=key_id,
            media_type=media_type,
            opened_at=now,
            expires_at=now + min(max(kept, KEPT_LEAST), KEPT_MOST),
        )
        with redis_errors(), self._redis.pipeline() as both:
            both.set(_record_key(upload.id), _RECORD.dump_json(upload))
            both.zadd(EXPIRY, {upload.id: upload.expires_at.timestamp()})
            both.execute()
        return upload

    def get(self, upload_id: str) -> Upload:
        """Read what is known of an upload. Raises UnknownUpload or Unavailable."""
        with redis_errors():
            record = cast("bytes | None", self._redis.get(_record_key(upload_id)))
        if record is None:
            raise UnknownUpload(upload_id)
        return _RECORD.validate_json(record)

    def store(self, upload: Upload, file: BinaryIO) -> None:
        """Keep the file that came. Raises StorageError, Unavailable, or UnknownUpload if it was deleted meanwhile."""
        self._storage.put(upload.key, file)
        try:
            self.get(upload.id)
        except UnknownUpload:
            self._storage.delete(_folder(upload.id))
            raise

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

    def _delete(self, upload_id: str) -> None:
        with redis_errors():
            self._redis.delete(_record_key(upload_id))  # first: a PUT that ends now sees it
        self._storage.delete(_folder(upload_id))
        with redis_errors():
            self._redis.zrem(EXPIRY, upload_id)  # last: until then a sweep tries again


def _record_key(upload_id: str) -> str:
    return f"klein:upload:{upload_id}"


def _folder(upload_id: str) -> str:
    return f"{FOLDER}/{upload_id}"
