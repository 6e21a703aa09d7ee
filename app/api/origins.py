"""Allows pages of other origins to call the API (CORS)."""

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

_EXPOSED = ("Retry-After", "X-Request-Id", "X-Klein-Notes", "X-Klein-Numerics")


def allow_origins(origins: tuple[str, ...]) -> list[Middleware]:
    """Return the middleware that answers preflight requests, or an empty list if no origin is allowed.

    Keys travel in headers that a page sets itself, so no cookies are allowed.
    """
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=_EXPOSED,
        )
    ]
