"""Renders errors in the form of the hosted API."""

from app.api.errors import ErrorResponse
from app.dialects.errors import describe_error


def render_error(exc: Exception) -> ErrorResponse:
    """Render an error. The body repeats `error` as `message`, because clients read either."""
    description = describe_error(exc)
    body = {
        "status": description.status,
        "error": description.error,
        "message": description.error,
        "details": description.details,
    }
    return ErrorResponse(status=description.status, body=body, headers=description.headers)
