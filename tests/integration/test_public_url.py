"""Tests of the warning about a server whose URLs name whatever Host a request has."""

import os
import socket
import sys

import pytest

from tests.support import processes


@pytest.fixture
def start(redis_server, connection, tmp_path):
    """Start an API process on a port that is in use, so that it ends, and return its log."""
    with socket.create_server(("0.0.0.0", 0)) as listener:

        def start(**settings):
            own = {
                "REDIS_URL": redis_server.url,
                "KLEIN_DATA": str(tmp_path),
                "KLEIN_HOST": "0.0.0.0",
                "KLEIN_PORT": str(listener.getsockname()[1]),
                "KLEIN_API_KEYS": "test-key-of-more-than-thirty-two-characters",
            }
            command = [sys.executable, "-m", "app.cli", "api"]
            ended = processes.run(command, env=os.environ | own | settings)
            assert ended.returncode != 0, ended.stderr
            return ended.stderr

        yield start


@pytest.mark.parametrize(("public_url", "is_warned"), [("", True), ("https://images.test", False)])
def test_open_server_without_public_url_warns(start, public_url, is_warned):
    """A server for others that does not know its own URL says so at start, and what to set."""
    output = start(KLEIN_PUBLIC_URL=public_url)

    assert "set KLEIN_HOST and KLEIN_PORT to a free address" in output
    assert ("set KLEIN_PUBLIC_URL" in output) is is_warned
