"""Tests of API keys: authentication, limits, and what is stored."""

import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import TypeAdapter

from app.keys import CACHE_S, Key, Keys, configured_keys, create_first_key, hash_key
from app.predictions.accounts import Limits

GENERATED_KEY = f"klein_{'0' * 16}_{'a' * 43}"
RECORD = Key(id="0" * 16, name="app", hash=hash_key(GENERATED_KEY), created_at=datetime.now(UTC))


class KeyRecords:
    """The key records in Redis, and a clock that a test moves."""

    def __init__(self, *records):
        self.records = {record.id: record for record in records}
        self.reads = 0
        self.now = 0.0

    async def read(self, key_id):
        self.reads += 1
        record = self.records.get(key_id)
        return None if record is None else TypeAdapter(Key).dump_json(record)

    def keys(self, *configured, default=None):
        hashes = frozenset(hash_key(key) for key in configured)
        return Keys(hashes, self.read, default or Limits(), clock=lambda: self.now)


async def test_configured_key_has_id():
    """Each configured key has an id of its own, derived from its hash."""
    keys = KeyRecords().keys("first", "second")
    first, second = await keys.authenticate("first"), await keys.authenticate("second")

    assert first == await keys.authenticate("first") == hash_key("first")[:16]
    assert first != second


@pytest.mark.parametrize("key", ["", "firs", "First", "first ", "\ud800", "火", "x" * 100_000])
async def test_unknown_key_is_refused_without_redis(key):
    """An unknown key of any form is refused without reading Redis."""
    store = KeyRecords()

    assert await store.keys("first", "second").authenticate(key) is None
    assert store.reads == 0


async def test_stored_key_is_found_by_hash():
    """A key with a record in Redis has the record's id, and another secret with that id is refused."""
    keys = KeyRecords(RECORD).keys()

    assert await keys.authenticate(GENERATED_KEY) == RECORD.id
    assert await keys.authenticate(GENERATED_KEY[:-1] + "b") is None
    assert await keys.authenticate(GENERATED_KEY.replace("0" * 16, "1" * 16)) is None


@pytest.mark.parametrize(
    "end",
    [
        {"revoked_at": datetime.now(UTC)},
        {"expires_at": datetime.now(UTC) - timedelta(seconds=1)},
    ],
    ids=["revoked", "expired"],
)
async def test_revoked_or_expired_key_is_refused(end):
    """A revoked or expired key is refused, whether its hash is in Redis or configured."""
    configured = Key(id=hash_key("first")[:16], created_at=None)
    keys = KeyRecords(replace(RECORD, **end), replace(configured, **end)).keys("first")

    assert await keys.authenticate(GENERATED_KEY) is None
    assert await keys.authenticate("first") is None


@pytest.mark.parametrize("key", [GENERATED_KEY, "first"])
async def test_revocation_takes_effect_within_seconds(key):
    """A record is cached for two seconds, so a revoked key is accepted no longer than that."""
    store = KeyRecords(RECORD)
    keys = store.keys("first")
    key_id = await keys.authenticate(key)
    store.records[key_id] = replace(RECORD, id=key_id, revoked_at=datetime.now(UTC))
    store.now = CACHE_S - 0.01
    assert await keys.authenticate(key) == key_id
    store.now = CACHE_S

    assert await keys.authenticate(key) is None
    assert (store.reads, CACHE_S < 5) == (2, True)


async def test_slow_read_does_not_extend_cache():
    """The two seconds count from the start of the read, because the key may be revoked while it is read."""

    class SlowRecords(KeyRecords):
        async def read(self, key_id):
            record = await super().read(key_id)
            self.now += 1
            return record

    store = SlowRecords(RECORD)
    keys = store.keys()
    await keys.authenticate(GENERATED_KEY)
    store.now = CACHE_S
    await keys.authenticate(GENERATED_KEY)

    assert store.reads == 2


async def test_unknown_keys_are_not_cached():
    """Unknown keys of valid form are not cached: the same key is read again."""
    records = KeyRecords()
    keys = records.keys()
    for number in (*range(100), *range(100)):
        await keys.authenticate(f"klein_{number:016x}_{'a' * 43}")

    assert records.reads == 200


async def test_limits_of_key_precede_defaults():
    """A key's own limits take precedence, and the default fills the others."""
    default = Limits(in_flight=5, per_minute=60)
    keys = KeyRecords(replace(RECORD, limits=Limits(in_flight=2))).keys("first", default=default)
    created, configured = await keys.authenticate(GENERATED_KEY), await keys.authenticate("first")

    assert keys.limits_of(created) == Limits(in_flight=2, per_minute=60)
    assert keys.limits_of(configured) == default


OWNER = Key(id="@acme", created_at=datetime.now(UTC), limits=Limits(in_flight=3))
SECOND_KEY = f"klein_{'1' * 16}_{'a' * 43}"
OWNED = [
    replace(RECORD, owner="acme", limits=Limits(in_flight=9)),
    Key(id="1" * 16, owner="acme", hash=hash_key(SECOND_KEY), created_at=datetime.now(UTC)),
]


async def test_keys_of_owner_are_one_account():
    """Keys with one owner have its account and its limits. One of them may be revoked without the other."""
    store = KeyRecords(OWNER, *OWNED)
    keys = store.keys(default=Limits(per_minute=60))
    ids = [await keys.authenticate(key) for key in (GENERATED_KEY, SECOND_KEY)]
    store.records[RECORD.id] = replace(OWNED[0], revoked_at=datetime.now(UTC))
    store.now = CACHE_S

    assert ids == [RECORD.id, "1" * 16]
    assert [keys.account_of(key_id) for key_id in ids] == ["@acme", "@acme"]
    assert keys.limits_of("@acme") == Limits(in_flight=3, per_minute=60)
    assert await keys.authenticate(GENERATED_KEY) is None
    assert await keys.authenticate(SECOND_KEY)


async def test_revoked_owner_has_no_key():
    """Where the owner is revoked, so are all its keys, also while a body of theirs arrives."""
    store = KeyRecords(OWNER, *OWNED)
    keys = store.keys()
    key_id = await keys.authenticate(GENERATED_KEY)
    assert await keys.is_valid(key_id)
    store.records["@acme"] = replace(OWNER, revoked_at=datetime.now(UTC))
    store.now = CACHE_S

    assert [await keys.authenticate(key) for key in (GENERATED_KEY, SECOND_KEY)] == [None, None]
    assert not await keys.is_valid(key_id)


async def test_without_keys_none_is_accepted(tmp_path):
    """Without any keys no key is accepted, and the key set is false."""
    none = Keys(configured_keys((), tmp_path / "missing"), KeyRecords().read)

    assert await none.authenticate("") is None
    assert (bool(none), bool(KeyRecords().keys("first"))) == (False, True)


async def test_generated_key_authenticates(tmp_path):
    """A generated key authenticates, and its file has only the hash and is readable only by its owner."""
    key = create_first_key(tmp_path / "data")
    key_file = tmp_path / "data" / "keys"

    assert key.startswith("klein_")
    assert await Keys(configured_keys((), tmp_path / "data"), KeyRecords().read).authenticate(key)
    assert key_file.read_text() == hash_key(key) + "\n"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600


def test_configured_keys_replace_stored_keys(tmp_path):
    """Configured keys replace the stored ones."""
    create_first_key(tmp_path)

    assert configured_keys(("given",), tmp_path) == {hash_key("given")}


async def test_every_hash_is_compared():
    """A match does not end the comparison, so its duration reveals nothing about the other keys."""

    class Counted(frozenset[str]):
        compared = 0

        def __iter__(self):
            for each in frozenset.__iter__(self):
                Counted.compared += 1
                yield each

    keys = Keys(Counted(hash_key(str(k)) for k in range(20)), KeyRecords().read)
    for key in ("0", "19", "nobody"):
        Counted.compared = 0
        await keys.authenticate(key)
        assert Counted.compared == 20
