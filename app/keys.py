"""Authenticates API keys. Only hashes are stored, and they are compared in constant time.

The hashes of configured keys (KLEIN_API_KEYS, or the one that the first `klein up` creates) are held by each process. All
other keys are records in the Redis hash `klein:keys`, by id. A record may also revoke or limit a configured key.

Keys of one owner are one account: they share history, limits and budgets. The account of a key without an owner is the key.
An owner has a record too, `@` and its name, with the limits of all its keys. Everywhere else "key id" is that of the account.
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

from app import upload_quota
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
CACHE_S = 2.0  # a revoked key may be accepted for this long
MIN_LENGTH = 32  # characters of a key in KLEIN_API_KEYS
_ID_LENGTH = 16  # hex digits that identify a key in records and logs
_SECRET_LENGTH = 43  # of 62 characters: 256 bits
_GENERATED = re.compile(rf"{PREFIX}([0-9a-f]{{{_ID_LENGTH}}})_[0-9A-Za-z]{{{_SECRET_LENGTH}}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """The record of one key, without the key itself, or of an owner."""

    id: str
    name: str = ""
    owner: str = ""
    hash: str = field(default="", repr=False)  # '' for a configured key
    created_at: datetime | None  # None for a configured key
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    limits: Limits = UNLIMITED.limits

    @property
    def account_id(self) -> str:
        """Return what its predictions, limits and spending are kept under."""
        return owner_id(self.owner) if self.owner else self.id

    def is_valid(self, now: datetime) -> bool:
        """Return whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class UnknownKey(Exception):
    """There is no such key; `klein keys list` shows all keys."""


class OwnerRevoked(Exception):
    """The owner was revoked; choose another name."""


def owner_id(owner: str) -> str:
    """Return the id of the record of an owner, which no key can have."""
    return f"@{owner}"


_RECORD = TypeAdapter(Key)
ReadRecord = Callable[[str], Awaitable[bytes | None]]


def hash_key(key: str) -> str:
    """Hash a key. A key has 256 random bits, so a slow hash would add nothing."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class Keys:
    """The keys that one process accepts."""

    def __init__(
        self,
        configured: frozenset[str],
        read: ReadRecord,
        default: Limits = UNLIMITED.limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configured = configured
        self._default = default
        self._read = read
        self._clock = clock
        self._cache: dict[str, tuple[float, Key | None]] = {}

    async def authenticate(self, key: str) -> str | None:
        """Return the id of the key, or None if it is unknown, expired or revoked. Raises Unavailable."""
        key_hash = hash_key(key)
        matches = [hmac.compare_digest(key_hash, accepted) for accepted in self._configured]
        if any(matches):
            key_id = key_hash[:_ID_LENGTH]
            return key_id if await self.is_valid(key_id) else None
        match = _GENERATED.fullmatch(key)
        if match is None:
            return None
        record = await self._record(match[1])
        if record is None or not hmac.compare_digest(key_hash, record.hash):
            return None
        return record.id if await self.is_valid(record.id) else None

    async def is_valid(self, key_id: str) -> bool:
        """Return whether neither a key that was found before nor its owner is revoked or expired. Raises Unavailable."""
        record = await self._record(key_id, is_configured=True)
        if record is None:
            return True
        is_valid = record.is_valid(datetime.now(UTC))
        return is_valid and (not record.owner or await self.is_valid(record.account_id))

    def account_of(self, key_id: str) -> str:
        """Return the account of a key that this object authenticated."""
        _, record = self._cache.get(key_id, (0.0, None))
        return key_id if record is None else record.account_id

    def limits_of(self, account_id: str) -> Limits:
        """Return the limits of an account of which this object authenticated a key."""
        _, record = self._cache.get(account_id, (0.0, None))
        return record.limits.with_defaults(self._default) if record is not None else self._default

    async def _record(self, key_id: str, *, is_configured: bool = False) -> Key | None:
        read_at, record = self._cache.get(key_id, (-CACHE_S, None))
        now = self._clock()
        if now - read_at < CACHE_S:
            return record
        with redis_errors():
            stored = await self._read(key_id)
        record = None if stored is None else _RECORD.validate_json(stored)
        # unknown ids are not cached, because anyone can invent them
        if record is not None or is_configured:
            self._cache[key_id] = now, record
        return record

    def __bool__(self) -> bool:
        return bool(self._configured)


class KeyRing:
    """Creates, lists and revokes the keys in Redis."""

    def __init__(self, connection: "redis.Redis", configured: frozenset[str]) -> None:
        self._redis = connection
        self._configured = {accepted[:_ID_LENGTH] for accepted in configured}

    def create(
        self, name: str, expires_at: datetime | None, limits: Limits, owner: str = ""
    ) -> tuple[Key, str]:
        """Create a key. Return its record, and the key itself, which is shown once.

        The limits are those of all keys of the owner, if there is one. They replace its earlier ones. Raises OwnerRevoked.
        """
        if owner:
            self._store_owner(owner, limits)
            limits = UNLIMITED.limits
        key_id = secrets.token_hex(_ID_LENGTH // 2)
        characters = string.ascii_letters + string.digits
        secret = "".join(secrets.choice(characters) for _ in range(_SECRET_LENGTH))
        key = f"{PREFIX}{key_id}_{secret}"
        record = Key(
            id=key_id,
            name=name,
            owner=owner,
            hash=hash_key(key),
            created_at=datetime.now(UTC),
            expires_at=expires_at,
            limits=limits,
        )
        self._store(record)
        return record, key

    def list(self) -> list[Key]:
        """List all keys and owners by age, configured keys first."""
        with redis_errors():
            stored = cast("dict[bytes, bytes]", self._redis.hgetall(KEYS))
        records = {r.id: r for r in map(_RECORD.validate_json, stored.values())}
        configured = [records.pop(k, _configured_key(k)) for k in sorted(self._configured)]
        return configured + sorted(records.values(), key=lambda r: str(r.created_at))

    def revoke(self, key_id: str) -> Key:
        """Revoke a key, or an owner with all its keys. Processes reject them within CACHE_S. Raises UnknownKey."""
        key = self._find(key_id)
        if key is None:
            raise UnknownKey(key_id)
        revoked = replace(key, revoked_at=key.revoked_at or datetime.now(UTC))
        self._store(revoked)
        return revoked

    def account(self, account_id: str, now: datetime) -> Account:
        """Read how many unfinished predictions and uploads an account has, and what it spent this month."""
        with redis_errors():
            in_flight = self._redis.hlen(held_key(account_id))
            spent = cast("bytes | None", self._redis.hget(spent_key(account_id), month_of(now)))
            uploads = self._redis.hlen(upload_quota.held_key(account_id))
            upload_bytes = cast("bytes | None", self._redis.get(upload_quota.bytes_key(account_id)))
        return Account(
            in_flight=in_flight,
            spent_dollars=int(spent or 0) / NANODOLLARS,
            uploads=uploads,
            upload_bytes=int(upload_bytes or 0),
        )

    def _find(self, key_id: str) -> Key | None:
        return next((key for key in self.list() if key.id == key_id), None)

    def _store_owner(self, owner: str, limits: Limits) -> None:
        record = self._find(owner_id(owner))
        if record is None:
            record = Key(id=owner_id(owner), created_at=datetime.now(UTC))
        if record.revoked_at is not None:
            raise OwnerRevoked(owner)
        self._store(replace(record, limits=limits.with_defaults(record.limits)))

    def _store(self, record: Key) -> None:
        with redis_errors():
            self._redis.hset(KEYS, record.id, _RECORD.dump_json(record))


def _configured_key(key_id: str) -> Key:
    return Key(id=key_id, name="from KLEIN_API_KEYS or the first start", created_at=None)


def weak_key_problem(keys: tuple[str, ...]) -> str | None:
    """Say which of the keys in KLEIN_API_KEYS can be guessed, if there is one."""
    for number, key in enumerate(keys, 1):
        if len(key) < MIN_LENGTH:
            return (
                f"KLEIN_API_KEYS: key {number} has {len(key)} characters, and at least {MIN_LENGTH} random ones are needed; "
                "make one with `openssl rand -hex 32`"
            )
    return None


def configured_keys(keys: tuple[str, ...], folder: Path) -> frozenset[str]:
    """Return the hashes of the keys in the settings, or of the key that the first start created in the folder."""
    if keys:
        return frozenset(hash_key(key) for key in keys)
    file = _file(folder)
    return frozenset(file.read_text().split()) if file.exists() else frozenset()


def create_first_key(folder: Path) -> str:
    """Create the first key and store its hash. The caller shows the key, once."""
    key = PREFIX + secrets.token_urlsafe(32)
    file = _file(folder)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(hash_key(key) + "\n")
    file.chmod(0o600)
    return key


def _file(folder: Path) -> Path:
    return folder / "keys"
