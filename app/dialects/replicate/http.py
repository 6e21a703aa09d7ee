"""Collects the routers of Replicate's API, and renders errors in its form."""

from typing import Any

from app.api.errors import ErrorResponse, Unauthorized
from app.dialects.errors import describe_error
from app.dialects.http import HttpDialect
from app.dialects.replicate import account_routes, file_routes, model_routes, routes
from app.predictions.errors import InvalidInput


def render_error(exc: Exception) -> ErrorResponse:
    """Render an error in Replicate's form. Only invalid input has another status than elsewhere."""
    description = describe_error(exc)
    status = 422 if isinstance(exc, InvalidInput) else description.status
    body: dict[str, Any] = {
        "title": "Input validation failed" if status == 422 else description.error,  # noqa: PLR2004
        "detail": description.details or description.error,
        "status": status,
    }
    if isinstance(exc, Unauthorized):
        body["title"] = "Unauthenticated"
        body["detail"] = "You did not pass a valid authentication token: send Authorization: Bearer"
    if isinstance(exc, InvalidInput):
        body["detail"] = "".join(f"- {p.field}: {p.message}\n" for p in exc.problems)
        body["invalid_fields"] = [
            {"field": p.field, "description": p.message} for p in exc.problems
        ]
    return ErrorResponse(status=status, body=body, headers=description.headers)


HTTP = HttpDialect(
    routers=(
        model_routes.shared,
        file_routes.shared,
        routes.router,
        model_routes.router,
        file_routes.router,
        account_routes.router,
    ),
    render_error=render_error,
)
