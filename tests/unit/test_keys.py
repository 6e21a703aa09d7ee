"""API keys: who is known, and what is kept of them."""

import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import TypeAdapter

from app.keys import CACHE_S, Key, Keys, configured_keys, hash_key, make_key
from app.predictions.accounts import Limits

MADE = f"klein_{'0' * 16}_{'a' * 43}"
RECORD = Key(id="0" * 16, name="app", hash=hash_key(MADE), created_at=datetime.now(UTC))


class Kept:
    """The records of Redis, and a clock that a test moves."""

    def __init__(self, *records):
        self.records = {record.id: record for record in records}
        self.reads = 0
        self.now = 0.0

    async def read(self, key_id):
        self.reads += 1
        record = self.records.get(key_id)
        return None if record is None else TypeAdapter(Key).dump_json(record)

    def keys(self, *given, default=None):
        hashes = frozenset(hash_key(key) for key in given)
        return Keys(hashes, self.read, default or Limits(), clock=lambda: self.now)


async def test_a_given_key_has_an_id():
    """Each key by setting has its own id, always the same, which is no part of the key."""
    keys = Kept().keys("first", "second")
    first, second = await keys.authenticate("first"), await keys.authenticate("second")

    assert first == await keys.authenticate("first") == hash_key("first")[:16]
    assert first != second


@pytest.mark.parametrize("key", ["", "firs", "First", "first ", "\ud800", "火", "x" * 100_000])
async def test_an_unknown_key_has_none(key):
    """Whatever it is made of, a key that is not known is nobody's, and Redis is not asked."""
    kept = Kept()

    assert await kept.keys("first", "second").authenticate(key) is None
    assert kept.reads == 0


async def test_a_kept_key_is_known_by_its_hash():
    """A key of which Redis keeps a record has the record's id; another secret under that id is nobody."""
    keys = Kept(RECORD).keys()

    assert await keys.authenticate(MADE) == RECORD.id
    assert await keys.authenticate(MADE[:-1] + "b") is None
    assert await keys.authenticate(MADE.replace("0" * 16, "1" * 16)) is None


@pytest.mark.parametrize(
    "end",
    [
        {"revoked_at": datetime.now(UTC)},
        {"expires_at": datetime.now(UTC) - timedelta(seconds=1)},
    ],
    ids=["revoked", "expired"],
)
async def test_what_has_ended_opens_nothing(end):
    """A revoked or expired key is nobody, whether Redis keeps it or the process holds it."""
    held = Key(id=hash_key("first")[:16], created_at=None)
    keys = Kept(replace(RECORD, **end), replace(held, **end)).keys("first")

    assert await keys.authenticate(MADE) is None
    assert await keys.authenticate("first") is None


@pytest.mark.parametrize("key", [MADE, "first"])
async def test_a_revocation_is_seen_within_seconds(key):
    """A record is read once in two seconds, so that a revoked key is served that long and no longer."""
    kept = Kept(RECORD)
    keys = kept.keys("first")
    key_id = await keys.authenticate(key)
    kept.records[key_id] = replace(RECORD, id=key_id, revoked_at=datetime.now(UTC))
    kept.now = CACHE_S - 0.01
    assert await keys.authenticate(key) == key_id
    kept.now = CACHE_S

    assert await keys.authenticate(key) is None
    assert (kept.reads, CACHE_S < 5) == (2, True)


async def test_what_strangers_make_up_is_not_remembered():
    """Unknown keys of valid form are not cached: the same key is read again."""
    records = Kept()
    keys = records.keys()
    for number in (*range(100), *range(100)):
        await keys.authenticate(f"klein_{number:016x}_{'a' * 43}")

    assert records.reads == 200


async def test_a_key_has_its_limits_else_the_default():
    """Each limit of a key's own counts; for the others, and for a key without a record, the default does."""
    default = Limits(in_flight=5, per_minute=60)
    keys = Kept(replace(RECORD, limits=Limits(in_flight=2))).keys("first", default=default)
    made, given = await keys.authenticate(MADE), await keys.authenticate("first")

    assert keys.limits_of(made) == Limits(in_flight=2, per_minute=60)
    assert keys.limits_of(given) == default


async def test_without_keys_nobody_is_known(tmp_path):
    """Where there are none, no key opens, and one can ask whether there are any."""
    none = Keys(configured_keys((), tmp_path / "missing"), Kept().read)

    assert await none.authenticate("") is None
    assert (bool(none), bool(Kept().keys("first"))) == (False, True)


async def test_a_made_key_is_known_from_then_on(tmp_path):
    """A first key authenticates, and its file holds only its hash and is its owner's alone."""
    key = make_key(tmp_path / "data")
    kept = tmp_path / "data" / "keys"

    assert key.startswith("klein_")
    assert await Keys(configured_keys((), tmp_path / "data"), Kept().read).authenticate(key)
    assert kept.read_text() == hash_key(key) + "\n"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_given_keys_replace_the_kept(tmp_path):
    """Keys by setting are the only ones beside those in Redis."""
    make_key(tmp_path)

    assert configured_keys(("given",), tmp_path) == {hash_key("given")}


async def test_every_given_hash_is_compared():
    """A match does not end the search, so that time tells nothing of the others."""

    class Counted(frozenset[str]):
        seen = 0

        def __iter__(self):
            for each in frozenset.__iter__(self):
                Counted.seen += 1
                yield each

    keys = Keys(Counted(hash_key(str(k)) for k in range(20)), Kept().read)
    for key in ("0", "19", "nobody"):
        Counted.seen = 0
        await keys.authenticate(key)
        assert Counted.seen == 20
