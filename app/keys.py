"""API keys: who is asking. Only hashes are kept, and compared in constant time.

Keys by setting, and the first made one, are hashes that the process holds; all others are records in the Redis hash
`klein:keys`, by id. A record may also revoke or limit a key of the first kind.
"""

import hashlib
import hmac
import re
import secrets
import string
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import redis
from pydantic import TypeAdapter

from app.predictions.accounts import (
    NANODOLLARS,
    UNLIMITED,
    Account,
    Limits,
    held_key,
    month_of,
    spent_key,
)
from app.predictions.redis_errors import redis_errors

PREFIX = "klein_"
KEYS = "klein:keys"
CACHE_S = 2.0  # so long after its revocation a key may still be served
_ID_LENGTH = 16  # hex digits that name a key in records and logs
_SECRET_LENGTH = 43  # of 62 characters: 256 bits
_MADE = re.compile(rf"{PREFIX}([0-9a-f]{{{_ID_LENGTH}}})_[0-9A-Za-z]{{{_SECRET_LENGTH}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is known of one key; never the key itself."""

    id: str
    name: str = ""
    hash: str = field(default="", repr=False)  # '' where the process itself holds it
    created_at: datetime | None  # None where the process itself holds it
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    limits: Limits = UNLIMITED.limits

    def is_valid(self, now: datetime) -> bool:
        """Say whether it opens anything."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class UnknownKey(Exception):
    """There is no such key; `klein keys list` shows all."""


_RECORD = TypeAdapter(Key)
Read = Callable[[str], Awaitable[bytes | None]]


def hash_key(key: str) -> str:
    """Hash a key; it is 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class Keys:
    """The keys that this server accepts, as one process sees them."""

    def __init__(
        self,
        given: frozenset[str],
        read: Read,
        default: Limits = UNLIMITED.limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._given = given
        self._default = default
        self._read = read
        self._clock = clock
        self._seen: dict[str, tuple[float, Key | None]] = {}

    async def authenticate(self, key: str) -> str | None:
        """Tell the id of the key, or None where it is unknown, expired or revoked. Raises Unavailable."""
        presented = hash_key(key)
        known = [hmac.compare_digest(presented, accepted) for accepted in self._given]
        if any(known):
            record = await self._record(presented[:_ID_LENGTH], is_given=True)
            if record is not None and not record.is_valid(datetime.now(UTC)):
                return None
            return presented[:_ID_LENGTH]
        made = _MADE.fullmatch(key)
        if made is None:
            return None
        record = await self._record(made[1])
        if record is None or not hmac.compare_digest(presented, record.hash):
            return None
        return record.id if record.is_valid(datetime.now(UTC)) else None

    def limits_of(self, key_id: str) -> Limits:
        """Tell the limits of a key that was authenticated here."""
        _, record = self._seen.get(key_id, (0.0, None))
        return record.limits.with_defaults(self._default) if record is not None else self._default

    async def _record(self, key_id: str, *, is_given: bool = False) -> Key | None:
        read_at, record = self._seen.get(key_id, (-CACHE_S, None))
        if self._clock() - read_at < CACHE_S:
            return record
        asked_at = self._clock()
        with redis_errors():
            kept = await self._read(key_id)
        record = None if kept is None else _RECORD.validate_json(kept)
        if record is not None or is_given:  # what strangers make up is not remembered
            self._seen[key_id] = asked_at, record
        return record

    def __bool__(self) -> bool:
        return bool(self._given)


class KeyRing:
    """The keys kept in Redis, for those who manage them."""

    def __init__(self, connection: "redis.Redis", given: frozenset[str]) -> None:
        self._redis = connection
        self._given = {accepted[:_ID_LENGTH] for accepted in given}

    def create(self, name: str, expires_at: datetime | None, limits: Limits) -> tuple[Key, str]:
        """Make a key; the second is the key itself, to be shown once."""
        key_id = secrets.token_hex(_ID_LENGTH // 2)
        characters = string.ascii_letters + string.digits
        secret = "".join(secrets.choice(characters) for _ in range(_SECRET_LENGTH))
        key = f"{PREFIX}{key_id}_{secret}"
        record = Key(
            id=key_id,
            name=name,
            hash=hash_key(key),
            created_at=datetime.now(UTC),
            expires_at=expires_at,
            limits=limits,
        )
        self._keep(record)
        return record, key

    def list(self) -> list[Key]:
        """List all keys by age; those that the processes hold come first."""
        with redis_errors():
            kept = cast("dict[bytes, bytes]", self._redis.hgetall(KEYS))
        records = {r.id: r for r in map(_RECORD.validate_json, kept.values())}
        given = [records.pop(key_id, _held(key_id)) for key_id in sorted(self._given)]
        return given + sorted(records.values(), key=lambda r: str(r.created_at))

    def revoke(self, key_id: str) -> Key:
        """Let a key open nothing any more, within CACHE_S. Raises UnknownKey."""
        found = next((key for key in self.list() if key.id == key_id), None)
        if found is None:
            raise UnknownKey(key_id)
        revoked = replace(found, revoked_at=found.revoked_at or datetime.now(UTC))
        self._keep(revoked)
        return revoked

    def account(self, key_id: str, now: datetime) -> Account:
        """Read what a key has under way and has spent."""
        with redis_errors():
            in_flight = self._redis.hlen(held_key(key_id))
            spent = cast("bytes | None", self._redis.hget(spent_key(key_id), month_of(now)))
        return Account(in_flight=in_flight, spent_dollars=int(spent or 0) / NANODOLLARS)

    def _keep(self, record: Key) -> None:
        with redis_errors():
            self._redis.hset(KEYS, record.id, _RECORD.dump_json(record))


def _held(key_id: str) -> Key:
    return Key(id=key_id, name="from KLEIN_API_KEYS, or the first", created_at=None)


def given_keys(given: tuple[str, ...], folder: Path) -> frozenset[str]:
    """Give the hashes of the keys by setting, or else those that the data folder keeps."""
    if given:
        return frozenset(hash_key(key) for key in given)
    kept = _file(folder)
    return frozenset(kept.read_text().split()) if kept.exists() else frozenset()


def make_key(folder: Path) -> str:
    """Make the first key and keep its hash; the key itself is shown once, by the caller."""
    key = PREFIX + secrets.token_urlsafe(32)
    kept = _file(folder)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(hash_key(key) + "\n")
    kept.chmod(0o600)
    return key


def _file(folder: Path) -> Path:
    return folder / "keys"
