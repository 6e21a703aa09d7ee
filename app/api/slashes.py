"""Serves a path with a trailing slash as the path without it: clients do not follow a redirect on POST."""

import re
from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

_WITH_SLASH = re.compile(r"/(?!files/|page/).*[^/]/")  # a file's name is signed as it is


class TrailingSlash:
    """ASGI middleware that takes one slash off the end of a path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] == "http" and _WITH_SLASH.fullmatch(scope["path"]):
            scope["path"] = scope["path"][:-1]
        return self._app(scope, receive, send)
