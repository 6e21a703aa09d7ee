"""Declares the responses of routes in the OpenAPI document."""

from typing import Any

from app.dialects.eachlabs import bodies

Responses = dict[int | str, dict[str, Any]]


def declare_responses(ok: Any, *errors: int) -> Responses:
    """Declare a 200 with the body `ok`, and errors."""
    return declare_errors(*errors) | {200: {"model": ok}}


def declare_errors(*errors: int) -> Responses:
    """Declare errors. A route that declares a 401 also declares a 429, for too many requests without a valid key."""
    throttled = (429,) if 401 in errors else ()  # noqa: PLR2004 -- statuses
    return {status: {"model": bodies.ErrorBody} for status in (*errors, *throttled)}
