"""Tests of the URL by which a client reached the server."""

import pytest
from starlette.requests import HTTPConnection

from app.api.base_url import base_url_of


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("server", [("10.0.0.1", 8000), ["::1", 80], None])
@pytest.mark.parametrize("host", [None, b"klein.example", b"klein:8000", b"a/b?c", b"[::1]:1", b""])
def test_url_is_that_of_starlette(scheme, server, host):
    """The scheme, the host and the address of the server decide the URL, as they do for Starlette."""
    headers = [(b"accept", b"*/*")] if host is None else [(b"accept", b"*/*"), (b"host", host)]
    scope = {
        "type": "http",
        "scheme": scheme,
        "server": server,
        "path": "/v1/prediction",
        "query_string": b"wait=1",
        "root_path": "",
        "headers": headers,
    }
    expected = str(HTTPConnection(scope).base_url).rstrip("/")

    assert base_url_of(HTTPConnection(scope)) == expected
