"""Declares the responses of routes in the OpenAPI document."""

from typing import Any

from app.dialects.eachlabs import bodies

Responses = dict[int | str, dict[str, Any]]


def answers(ok: Any, *errors: int) -> Responses:
    """Declare a 200 with the body `ok`, and errors."""
    return refusals(*errors) | {200: {"model": ok}}


def refusals(*errors: int) -> Responses:
    """Declare errors."""
    return {status: {"model": bodies.ErrorBody} for status in errors}
