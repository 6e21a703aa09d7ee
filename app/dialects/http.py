"""Loads the routes of the registered dialects, and finds the dialect that renders a request's errors."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import Scope

from app.api.errors import ErrorResponse, RenderError
from app.dialects.callers import find_vendor
from app.dialects.registry import DIALECTS, Dialect


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpDialect:
    """The part of a dialect that only the api process loads."""

    routers: tuple[APIRouter, ...]  # in the order in which they match
    prefixed: tuple[APIRouter, ...] = ()  # only below the prefix
    first: tuple[APIRouter, ...] = ()  # tried before all others, which have none of their paths
    render_error: Callable[[Exception], ErrorResponse]


class VendorRoute(APIRoute):
    """Matches below the prefix of its dialect. At a path that dialects share, it matches only the vendor's own clients."""

    dialect: str

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the path, and at a shared path also the client."""
        match, child_scope = super().matches(scope)
        is_shared = match is not Match.NONE and scope["path"].startswith("/v1/")
        if is_shared and find_vendor(Headers(scope=scope)) != self.dialect:
            return Match.NONE, {}
        return match, child_scope


def add_routes(app: FastAPI, router: APIRouter) -> None:
    """Add the routes of a router as if they were the app's. `include_router` has each request search a router twice."""
    app.router.routes.extend(router.routes)


def include_dialects(app: FastAPI) -> None:
    """Include the routes of all dialects. A request tries them in this order, so the paths without a prefix come first."""
    at_root = [load_http(dialect) for dialect in DIALECTS if dialect.is_at_root]
    for http in at_root:
        for router in http.first:
            add_routes(app, router)
    for http in at_root:
        for router in http.routers:
            add_routes(app, router)
    for dialect in DIALECTS:
        if dialect.prefix:
            http = load_http(dialect)
            for router in (*http.first, *http.routers, *http.prefixed):
                app.include_router(router, prefix=dialect.prefix)


def error_renderer(scope: Scope) -> RenderError:
    """Return the renderer of a request's errors: that of the dialect to which the request belongs."""
    return load_http(_dialect_of(scope)).render_error


def mount_of(scope: Scope) -> str:
    """Return the prefix of the dialect below which the request came, else ''."""
    dialect = _at_prefix(scope["path"])
    return "" if dialect is None else dialect.prefix


@cache
def load_http(dialect: Dialect) -> HttpDialect:
    """Import the routes of a dialect."""
    http: HttpDialect = import_module(dialect.routes).HTTP
    return http


def _dialect_of(scope: Scope) -> Dialect:
    """Return the dialect whose prefix the path has, whose client sent the request, or whose routes it matches."""
    if dialect := _at_prefix(scope["path"]):
        return dialect
    # before the routes: a path that dialects share has the form of the client
    vendor = find_vendor(Headers(scope=scope))
    if dialect := next((d for d in DIALECTS if d.name == vendor), None):
        return dialect
    request = f"{scope['method']} {scope['path']}"
    default = next(d for d in DIALECTS if d.is_default)
    return next((d for d in DIALECTS if d.matches and d.matches.match(request)), default)


def _at_prefix(path: str) -> Dialect | None:
    return next(
        (d for d in DIALECTS if d.prefix and f"{path}/".startswith(f"{d.prefix}/")),
        None,
    )
