"""Answers HEAD as GET without a body, as HTTP asks of every server: monitors of availability send it."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.methods import AllowedMethods


class HeadAsGet:
    """ASGI middleware that serves HEAD by the GET route of a path, unless the path has a route for HEAD.

    The server sends no body in response to HEAD, whatever the route returns.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._methods: AllowedMethods | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            self._methods = self._methods or AllowedMethods(scope["app"])
            if not self._methods.has_route(scope):
                scope = {**scope, "method": "GET"}
        return self._app(scope, receive, send)
