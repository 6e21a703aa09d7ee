"""Finds and serves direct routes before FastAPI's router, whose layers take longer than most of these routes."""

from itertools import takewhile

from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.direct_route import DirectRoute
from app.api.errors import ROUTE_ERRORS, ErrorRenderer, respond


class DirectRoutes:
    """ASGI middleware that serves the direct routes which the app has before all others. The router has the rest."""

    def __init__(self, app: ASGIApp, error_renderer: ErrorRenderer) -> None:
        self._app = app
        self._error_renderer = error_renderer
        self._routes: list[DirectRoute] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        route = self._find(scope) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        try:
            await route.handle(scope, receive, send)
        except ROUTE_ERRORS as exc:
            await respond(self._error_renderer, scope, exc)(scope, receive, send)

    def _find(self, scope: Scope) -> DirectRoute | None:
        """Return the route of a request, and put it into the scope as the router does."""
        if self._routes is None:  # at the first request every route is there
            self._routes = direct_routes(scope["app"].routes)
        for route in self._routes:
            match = route.path_regex.match(scope["path"])
            if match is not None and scope["method"] in (route.methods or ()):
                scope["route"] = route
                scope["path_params"] = match.groupdict()
                return route
        return None


def direct_routes(routes: list[BaseRoute]) -> list[DirectRoute]:
    """Return the direct routes before all others: the router would choose them first, too."""
    first = takewhile(lambda route: isinstance(route, DirectRoute), routes)
    return [route for route in first if isinstance(route, DirectRoute)]
