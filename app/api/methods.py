"""Tells which methods a path has, for the header `Allow`."""

import re

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.routing import compile_path
from starlette.types import Scope


class AllowedMethods:
    """The methods of every path of an app, over all of its routes."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._routes: list[tuple[re.Pattern[str], frozenset[str]]] = []

    def of(self, scope: Scope) -> str:
        """Return the methods of the request's path, such as `GET, HEAD, OPTIONS`. HEAD is served wherever GET is."""
        allowed = self._of_routes(scope) | {"OPTIONS"}
        return ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))

    def has_route(self, scope: Scope) -> bool:
        """Return whether a route of the request's path has the request's method."""
        return scope["method"] in self._of_routes(scope)

    def _of_routes(self, scope: Scope) -> set[str]:
        if not self._routes:  # at the first request every route is there
            self._routes = [
                (compile_path(str(context.path))[0], frozenset(context.methods or ()))
                for context in iter_route_contexts(self._app.routes)
            ]
        return {
            method
            for regex, methods in self._routes
            if regex.match(scope["path"])
            for method in methods
        }
