"""Keeps LoRAs that were fetched from URLs and the hub: their files in the storage, by content, and an index in Redis.

Redis keys: `klein:loras:used` digests by their last use (s), `klein:loras:bytes` the size of each,
`klein:loras:of:{key}` what an API key fetched, by the hash of its source.
"""

import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import cast

import redis

from app.logs import log
from app.loras.names import PEFT_CONFIG
from app.loras.transformer import TransformerSize
from app.predictions.clock import Clock
from app.predictions.redis_errors import redis_errors
from app.records import Records
from app.storage import Storage
from app.storage.errors import StorageError

FRESH = timedelta(hours=1)  # then a source is fetched again, because its content may change
REMEMBERED = timedelta(days=30)  # since the key fetched anything
SOURCES_MAX = 500  # of one key
FOLDER = "loras"
_USED, _BYTES = "klein:loras:used", "klein:loras:bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Whether a LoRA fits a transformer."""

    size: TransformerSize
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedLora:
    """A LoRA in the cache, as one API key named it."""

    source: str
    key: str
    """The storage key of its file."""
    size_bytes: int
    fetched_at: float  # unix seconds
    trigger_words: tuple[str, ...] = ()
    bases: tuple[str, ...] = ()
    fits: tuple[Fit, ...] = ()

    @property
    def digest(self) -> str:
        """The hash of its content."""
        return self.key.split("/")[1]

    def why_unfit(self, size: TransformerSize) -> str | None:
        """Return why it does not fit a transformer, or None if it fits, or may."""
        return next((fit.problem for fit in self.fits if fit.size == size), None)


_RECORDS = Records(FetchedLora)


class LoraCache:
    """Reads and writes the cache. Safe for any number of processes."""

    def __init__(self, connection: "redis.Redis", storage: Storage, max_bytes: int) -> None:
        self._redis = connection
        self._storage = storage
        self._clock = Clock(connection)
        self._max_bytes = max_bytes

    def find(self, key_id: str, source: str) -> FetchedLora | None:
        """Return what a key fetched from a source in the last hour, and note its use. Raises Unavailable."""
        with redis_errors():
            record = cast("bytes | None", self._redis.hget(_of_key(key_id), _field(source)))
        if record is None:
            return None
        fetched = _RECORDS.read(record)
        now = self._clock.now().timestamp()
        if now - fetched.fetched_at > FRESH.total_seconds():
            return None
        with redis_errors():
            if self._redis.zscore(_USED, fetched.digest) is None:  # evicted
                return None
            self._redis.zadd(_USED, {fetched.digest: now}, xx=True)
        return fetched

    def add(self, key_id: str, file: Path, fetched: FetchedLora) -> FetchedLora:
        """Store a fetched file, and evict the files used longest ago. Raises StorageError or Unavailable."""
        digest = _digest(file)
        now = self._clock.now().timestamp()
        config = file.with_name(PEFT_CONFIG)
        size_bytes = file.stat().st_size
        fetched = replace(
            fetched,
            key=f"{FOLDER}/{digest}/{file.name}",
            size_bytes=size_bytes,
            fetched_at=now,
        )
        if config.exists():
            self._storage.put(f"{FOLDER}/{digest}/{PEFT_CONFIG}", config.read_bytes())
        with file.open("rb") as stream:
            self._storage.put(fetched.key, stream)
        with redis_errors(), self._redis.pipeline() as pipe:
            pipe.zadd(_USED, {digest: now})
            pipe.hset(_BYTES, digest, size_bytes)
            pipe.hset(_of_key(key_id), _field(fetched.source), _RECORDS.write(fetched))
            pipe.expire(_of_key(key_id), REMEMBERED)
            pipe.execute()
        self._evict(digest)
        self._forget(key_id)
        return fetched

    def list_all(self, key_id: str) -> list[FetchedLora]:
        """List what a key fetched and the cache still holds, by source. Raises Unavailable."""
        with redis_errors():
            records = cast("dict[bytes, bytes]", self._redis.hgetall(_of_key(key_id)))
            held = {
                digest.decode() for digest in cast("list[bytes]", self._redis.zrange(_USED, 0, -1))
            }
        fetched = [_RECORDS.read(record) for record in records.values()]
        return sorted((f for f in fetched if f.digest in held), key=lambda f: f.source)

    def _evict(self, newest: str) -> None:
        """Delete the files used longest ago until the rest is within the limit. The newest file stays."""
        with redis_errors():
            sizes = cast("dict[bytes, bytes]", self._redis.hgetall(_BYTES))
            oldest_first = cast("list[bytes]", self._redis.zrange(_USED, 0, -1))
        total = sum(int(size) for size in sizes.values())
        for member in oldest_first:
            digest = member.decode()
            if total <= self._max_bytes:
                return
            if digest == newest:
                continue
            with redis_errors(), self._redis.pipeline() as pipe:
                pipe.zrem(_USED, digest)
                pipe.hdel(_BYTES, digest)
                pipe.execute()
            total -= int(sizes.get(member, 0))
            try:
                self._storage.delete(f"{FOLDER}/{digest}")
            except StorageError as exc:
                log.warning("files_not_deleted", lora=digest, error=str(exc))

    def _forget(self, key_id: str) -> None:
        """Drop the oldest sources of a key that has too many."""
        with redis_errors():
            records = cast("dict[bytes, bytes]", self._redis.hgetall(_of_key(key_id)))
            if len(records) > SOURCES_MAX:
                by_age = sorted(records, key=lambda name: _RECORDS.read(records[name]).fetched_at)
                self._redis.hdel(_of_key(key_id), *by_age[: len(records) - SOURCES_MAX])


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    for part in (file, file.with_name(PEFT_CONFIG)):
        if part.exists():
            with part.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _of_key(key_id: str) -> str:
    return f"klein:loras:of:{key_id}"


def _field(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()
