"""Refuses requests for open routes from an address that has sent too many."""

from collections.abc import Awaitable

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.address_budget import AddressBudget, is_open
from app.api.errors import ErrorRenderer, respond
from app.predictions.errors import TooManyRequests


class StrangerLimit:
    """ASGI middleware that counts requests which no key limits, before any other work."""

    def __init__(self, app: ASGIApp, budget: AddressBudget, error_renderer: ErrorRenderer) -> None:
        self._app = app
        self._budget = budget
        self._error_renderer = error_renderer

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request, or refuse it."""
        if scope["type"] == "http" and is_open(scope):
            try:
                self._budget.take(HTTPConnection(scope))
            except TooManyRequests as exc:
                return respond(self._error_renderer, scope, exc)(scope, receive, send)
        return self._app(scope, receive, send)
