"""Tests that no guessed or edited signed URL opens a file."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from app.storage.links import Links

EXPIRES = datetime(2126, 1, 1, tzinfo=UTC)
BEFORE = EXPIRES - timedelta(seconds=1)
LINKS = Links("secret")
URL = LINKS.link("https://klein.test", "p/a/0.png", EXPIRES)


@given(st.text(), st.text("0123456789-+e.") | st.text(), st.text("0123456789abcdef") | st.text())
def test_guessed_signature_opens_no_file(key, until, signed):
    """A guessed signature opens no file and raises no error."""
    assert not LINKS.allows(key, until, signed, BEFORE)


@given(where=st.integers(0, len(URL)), cut=st.integers(0, 9), put=st.text(max_size=9))
def test_edited_url_names_no_other_file(where, cut, put):
    """An edited URL names the file that was signed, or none."""
    edited = URL[:where] + put + URL[where + cut :]
    try:
        key = LINKS.key_of(edited)
    except ValueError:  # callers treat it as an invalid URL
        return

    assert key in {None, "p/a/0.png"}


@given(key=st.text(max_size=99))
def test_write_signature_does_not_permit_read(key):
    """A signature for writing a file does not permit reading it."""
    with suppress(ValueError):
        assert LINKS.key_of(LINKS.link("", key, EXPIRES, verb="PUT")) is None
