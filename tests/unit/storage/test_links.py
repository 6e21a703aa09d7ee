"""Tests of signed URLs: only the signature grants access to a file."""

import stat
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from app.storage.links import Links, open_links

EXPIRES = datetime(2126, 1, 1, tzinfo=UTC)
BEFORE = EXPIRES - timedelta(seconds=1)
KEY = "p/a/0.png"
links = Links("secret")


def parts(url):
    query = parse_qs(urlsplit(url).query)
    return query["expires"][0], query["signature"][0]


expires, signature = parts(links.link("https://klein.test", KEY, EXPIRES))


def test_signed_url_opens_its_file():
    """A link is absolute, ends its path in the file's name, and is allowed before it expires."""
    url = links.link("https://klein.test", KEY, EXPIRES)

    assert urlsplit(url).path == "/files/p/a/0.png"
    assert url == links.link("https://klein.test", KEY, EXPIRES)
    assert links.allows(KEY, expires, signature, BEFORE)


@pytest.mark.parametrize(
    ("key", "until", "signed"),
    [
        ("p/a/1.png", expires, signature),
        ("p/a/0.png\n", expires, signature),
        (KEY, str(int(expires) + 1), signature),
        (KEY, "0" + expires, signature[:-1]),
        (KEY, "", signature),
        (KEY, "-1", signature),
        (KEY, "1e9", signature),
        (KEY, "٣", signature),
        (KEY, "²", signature),
        (KEY, "9" * 5000, signature),
        (KEY, expires, ""),
        (KEY, expires, signature.upper()),
        (KEY, expires, signature[:-1] + "é"),
        (KEY, expires, "火" * 64),
        (KEY, expires, "\ud800"),
    ],
)
def test_tampered_url_is_refused(key, until, signed):
    """Another file, time or signature is refused, whatever its characters."""
    assert not links.allows(key, until, signed, BEFORE)


def test_signed_url_expires():
    """A link is refused from its expiry on."""
    assert not links.allows(KEY, expires, signature, EXPIRES)


def test_another_secret_is_refused():
    """A link that was signed with another secret is refused."""
    assert not Links("other").allows(KEY, expires, signature, BEFORE)


def test_own_urls_are_recognised():
    """The key of a valid link is returned for any base URL, and None for any other URL."""
    url = links.link("https://klein.test", KEY, EXPIRES)

    assert links.key_of(url) == KEY
    assert links.key_of(links.link("http://127.0.0.1:8000", KEY, EXPIRES)) == KEY
    assert links.key_of(url.replace("0.png", "1.png")) is None
    assert links.key_of(links.link("", KEY, datetime(2020, 1, 1, tzinfo=UTC))) is None
    assert links.key_of("https://elsewhere.test/files/p/a/0.png") is None
    assert links.key_of("") is None


def test_configured_secret_is_used(tmp_path):
    """With a configured secret no file is created."""
    opened = open_links("secret", tmp_path)

    assert opened.allows(KEY, expires, signature, BEFORE)
    assert list(tmp_path.iterdir()) == []


def test_generated_secret_is_private_and_reused(tmp_path):
    """A generated secret is stored in a file that only its owner can read, and is used again."""
    first, second = (open_links(None, tmp_path / "data") for _ in range(2))
    secret_file = tmp_path / "data" / "url_secret"

    assert first.link("", KEY, EXPIRES) == second.link("", KEY, EXPIRES)
    assert stat.S_IMODE(secret_file.stat().st_mode) == 0o600
    assert len(secret_file.read_text()) == 64
    assert [path.name for path in secret_file.parent.iterdir()] == ["url_secret"]
