"""Finds the URL by which a client reached the server."""

from functools import lru_cache
from typing import Any

from starlette.requests import HTTPConnection


def base_url_of(request: HTTPConnection) -> str:
    """Return the URL without a trailing slash: with the host that the request named, or else the address of the server."""
    scope = request.scope
    host = next((value for name, value in scope["headers"] if name == b"host"), None)
    server = tuple(scope["server"]) if scope["server"] else None
    return _base_url(scope["scheme"], host, server, scope.get("root_path", ""))


@lru_cache
def _base_url(
    scheme: str, host: bytes | None, server: tuple[Any, ...] | None, root_path: str
) -> str:
    """Return what Starlette makes of these in a dozen steps, which are the same for most requests."""
    scope = {
        "type": "http",
        "scheme": scheme,
        "server": server,
        "headers": [] if host is None else [(b"host", host)],
        "path": "/",
        "root_path": root_path,
    }
    return str(HTTPConnection(scope).base_url).rstrip("/")
