"""What the OpenAPI document says that a route answers."""

from typing import Any

from app.dialects.eachlabs import bodies

Responses = dict[int | str, dict[str, Any]]


def answers(ok: Any, *errors: int) -> Responses:
    """Describe a 200 with the body `ok`, and each of the errors."""
    return refusals(*errors) | {200: {"model": ok}}


def refusals(*errors: int) -> Responses:
    """Describe errors alone."""
    return {status: {"model": bodies.ErrorBody} for status in errors}
