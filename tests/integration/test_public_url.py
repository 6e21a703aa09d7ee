"""Tests of the warning about a server whose URLs name whatever Host a request has."""

import os

import pytest
from click.testing import CliRunner

from app.commands import api


class NoServer:
    """Stands in for the server that would listen."""

    started = True

    def __init__(self, *_arguments):
        pass

    def run(self):
        pass


@pytest.fixture
def start(redis_server, connection, monkeypatch, tmp_path):
    """Start an API process with some settings, and return what it printed."""
    monkeypatch.setattr(api, "Server", NoServer)
    umask = os.umask(0o077)

    def start(**settings):
        own = {
            "REDIS_URL": redis_server.url,
            "KLEIN_DATA": str(tmp_path),
            "KLEIN_API_KEYS": "test-key-of-more-than-thirty-two-characters",
        }
        result = CliRunner().invoke(api.api, env=own | settings)
        assert result.exit_code == 0, result.output
        return result.output

    yield start
    os.umask(umask)


@pytest.mark.parametrize(
    ("host", "public_url", "is_warned"),
    [
        ("0.0.0.0", "", True),
        ("0.0.0.0", "https://images.test", False),
        ("127.0.0.1", "", False),
    ],
)
def test_open_server_without_public_url_warns(start, host, public_url, is_warned):
    """A server for others that does not know its own URL says so at start, and what to set."""
    output = start(KLEIN_HOST=host, KLEIN_PUBLIC_URL=public_url)

    assert ("set KLEIN_PUBLIC_URL" in output) is is_warned
