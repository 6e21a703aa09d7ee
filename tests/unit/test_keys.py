"""API keys: who is known, and what is kept of them."""

import stat
from pathlib import Path

import pytest

from app.keys import Keys, hash_key, make_key, open_keys

KEYS = open_keys(("first", "second"), folder=Path("unused"))


def test_a_known_key_has_an_id():
    """Each known key has its own id, always the same, which is no part of the key."""
    first, second = KEYS.authenticate("first"), KEYS.authenticate("second")

    assert first == KEYS.authenticate("first") == hash_key("first")[:16]
    assert first != second


@pytest.mark.parametrize("key", ["", "firs", "First", "first ", "\ud800", "火", "x" * 100_000])
def test_an_unknown_key_has_none(key):
    """Whatever it is made of, a key that is not known is nobody's."""
    assert KEYS.authenticate(key) is None


def test_without_keys_nobody_is_known(tmp_path):
    """Where there are none, no key opens, and one can ask whether there are any."""
    none = open_keys((), tmp_path / "missing")

    assert none.authenticate("") is None
    assert (bool(none), bool(KEYS)) == (False, True)


def test_a_made_key_is_known_from_then_on(tmp_path):
    """A made key authenticates, and its file holds only its hash and is its owner's alone."""
    key = make_key(tmp_path / "data")
    kept = tmp_path / "data" / "keys"

    assert key.startswith("klein_")
    assert open_keys((), tmp_path / "data").authenticate(key)
    assert kept.read_text() == hash_key(key) + "\n"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_given_keys_replace_the_kept(tmp_path):
    """Keys by setting are the only ones."""
    key = make_key(tmp_path)

    assert open_keys(("given",), tmp_path).authenticate(key) is None


def test_every_known_hash_is_compared():
    """A match does not end the search, so that time tells nothing of the others."""

    class Counted(frozenset[str]):
        seen = 0

        def __iter__(self):
            for each in frozenset.__iter__(self):
                Counted.seen += 1
                yield each

    keys = Keys(Counted(hash_key(str(k)) for k in range(20)))
    for key in ("0", "19", "nobody"):
        Counted.seen = 0
        keys.authenticate(key)
        assert Counted.seen == 20
