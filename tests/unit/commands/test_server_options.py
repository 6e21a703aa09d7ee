"""Tests of how the commands find the server."""

import click
import pytest

from app.commands.client import Server
from app.commands.server_options import find_key, local_url
from app.settings import Settings


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("https://example.com/klein/", "https://example.com/klein"),
        ("https://example.com/my klein", "https://example.com/my%20klein"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_a_base_url_has_no_trailing_slash(text, url):
    """A URL may have a path and a trailing slash."""
    assert Server(text, "k").url == url


@pytest.mark.parametrize(
    "text", ["nonsense", "localhost:8000", "ftp://x", "http://", "http://x:port", "http://[::1"]
)
def test_what_is_not_the_url_of_a_server_is_refused(text):
    """The error shows the form."""
    with pytest.raises(click.BadParameter, match="write one like http://"):
        Server(text, "k")


@pytest.mark.parametrize("text", ["http://user:password@x", "http://x?a=b", "http://x#a"])
def test_parts_that_would_be_lost_are_refused(text):
    """A URL with a password, query or fragment is an error that does not repeat the password."""
    with pytest.raises(click.BadParameter, match="leave out user, password") as error:
        Server(text, "k")

    assert "user:password" not in error.value.format_message()


def test_the_local_server_is_that_of_the_settings(monkeypatch):
    """Commands and servers read KLEIN_HOST and KLEIN_PORT alike."""
    for host, port in [("", ""), ("0.0.0.0", "9000"), ("::", "1"), ("::1", "2"), ("host", "3")]:
        monkeypatch.setenv("KLEIN_HOST", host)
        monkeypatch.setenv("KLEIN_PORT", port)

        assert local_url() == Settings().address


def test_the_key_is_that_of_the_option_or_the_first_of_the_server(monkeypatch):
    """Without an option the first of KLEIN_API_KEYS is used, without line ends."""
    monkeypatch.setenv("KLEIN_API_KEYS", "first, second")

    assert find_key(None) == "first"
    assert find_key("own\r\n") == "own"
    monkeypatch.setenv("KLEIN_API_KEYS", "")
    assert find_key(None) is None
    with pytest.raises(click.BadParameter, match="visible ASCII"):
        find_key("a b")
