"""Loads the routes of the registered dialects, and finds the one that renders a request's errors."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from fastapi import APIRouter

from app.api.errors import ErrorResponse, RenderError
from app.dialects.registry import DIALECTS, Dialect


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpDialect:
    """The part of a dialect that only the api process loads."""

    routers: tuple[APIRouter, ...]  # in the order in which they match
    render_error: Callable[[Exception], ErrorResponse]


def dialect_routers() -> list[APIRouter]:
    """Return the routers of all dialects, in the order in which they match."""
    return [router for dialect in DIALECTS for router in load_http(dialect).routers]


def error_renderer(method: str, path: str) -> RenderError:
    """Choose who renders the errors of a request: the dialect that its path belongs to."""
    request = f"{method} {path}"
    claimed = (d for d in DIALECTS if d.matches is not None and d.matches.match(request))
    rest = (d for d in DIALECTS if d.matches is None)
    return load_http(next(claimed, None) or next(rest)).render_error


@cache
def load_http(dialect: Dialect) -> HttpDialect:
    """Import the routes of a dialect."""
    http: HttpDialect = import_module(dialect.routes).HTTP
    return http
