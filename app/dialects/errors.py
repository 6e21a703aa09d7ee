"""Gives each error its HTTP status and text. The dialects put these into their own bodies."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app.api.errors import BadBody, BadRequest, BodyTooLarge, Unauthorized, UnsatisfiableRange
from app.predictions.errors import (
    AlreadyFinal,
    BudgetSpent,
    IdempotencyKeyReused,
    InvalidInput,
    Refused,
    TooManyRequests,
    Unavailable,
    UnknownModel,
    UnknownPrediction,
    UnreadableRecord,
)
from app.predictions.problems import describe_problem
from app.storage.errors import FileMissing, StorageError
from app.uploads import AlreadySent, UnknownUpload
from app.webhooks.outbox import UnknownWebhook

RETRY_AFTER_S = 2
_NOTHING_HERE = "no route has this path; /docs lists all routes"

_ERRORS: dict[type[Exception], tuple[int, str]] = {
    InvalidInput: (400, "Invalid input for model"),
    Unauthorized: (401, "Invalid or missing API key"),
    BudgetSpent: (402, "payment required"),
    UnknownPrediction: (404, "Prediction not found"),
    UnknownModel: (404, "Failed to fetch model: model not found"),
    UnknownWebhook: (404, "webhook not found"),
    FileMissing: (404, "file not found"),
    UnknownUpload: (404, "upload not found"),
    AlreadyFinal: (409, "conflict"),
    IdempotencyKeyReused: (409, "conflict"),
    AlreadySent: (409, "conflict"),
    BodyTooLarge: (413, "request body too large"),
    UnsatisfiableRange: (UnsatisfiableRange.STATUS, "range not satisfiable"),
    BadBody: (422, "invalid request body"),
    TooManyRequests: (429, "too many requests"),
    Unavailable: (503, "service unavailable"),
    UnreadableRecord: (500, "Internal server error"),
    StorageError: (503, "service unavailable"),
}
_DETAILS: dict[type[Exception], Callable[[Any], Any]] = {
    InvalidInput: lambda exc: [{"field": p.field, "message": p.message} for p in exc.problems],
    Unauthorized: lambda _: "send a key as X-API-Key or as Authorization: Bearer",
    AlreadyFinal: lambda exc: f"the prediction has ended: {exc.status}",
    BadBody: str,
    BodyTooLarge: lambda exc: str(exc) or BodyTooLarge.__doc__,
    Refused: str,
}
_HTTP_ERRORS = {
    404: "not found",
    405: "method not allowed",
    429: "too many requests",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDescription:
    """An error before a dialect puts it into a body."""

    status: int
    error: str  # short, and the same for every error of its kind
    details: Any  # what is wrong in particular, and what to do
    headers: dict[str, str] = field(default_factory=dict)


def describe_error(exc: Exception) -> ErrorDescription:
    """Describe an error. An unforeseen one is a 500 without details."""
    if isinstance(exc, BadRequest):
        return ErrorDescription(status=400, error=exc.error, details=exc.details)
    if isinstance(exc, RequestValidationError):
        first = exc.errors()[0]
        name = first["loc"][-1]
        return ErrorDescription(
            status=400,
            error=f"invalid {name} parameter",
            details=f"{name}: {_describe_parameter(first)}",
        )
    if isinstance(exc, HTTPException):
        return _describe_http_error(exc)
    for kind in type(exc).__mro__:
        if kind in _ERRORS:
            status, error = _ERRORS[kind]
            return ErrorDescription(
                status=status, error=error, details=_details(exc), headers=_headers(exc, status)
            )
    return ErrorDescription(status=500, error="Internal server error", details=None)


def _describe_parameter(error: Any) -> str:
    """Say what a parameter must be. Those that take fractions are in seconds. Any: an error of FastAPI, as a dict."""
    text = describe_problem(error)
    if text in {"must be a number", "must be a finite number"}:
        return f"{text} of seconds"
    is_bound = any(isinstance(bound, float) for bound in error.get("ctx", {}).values())
    return f"{text} seconds" if is_bound else text


def _describe_http_error(exc: HTTPException) -> ErrorDescription:
    """Describe an error of the framework: no such path, or no such method."""
    headers = dict(exc.headers or {})
    return ErrorDescription(
        status=exc.status_code,
        error=_HTTP_ERRORS.get(exc.status_code, str(exc.detail).lower()),
        details=f"send {headers['Allow']}" if "Allow" in headers else _NOTHING_HERE,
        headers=headers,
    )


def _details(exc: Exception) -> Any:
    describe = next((_DETAILS[kind] for kind in type(exc).__mro__ if kind in _DETAILS), None)
    return describe(exc) if describe else type(exc).__doc__ or ""


def _headers(exc: Exception, status: int) -> dict[str, str]:
    if isinstance(exc, UnsatisfiableRange):
        return {"Content-Range": exc.content_range} if exc.content_range else {}
    if isinstance(exc, Refused):
        return {"Retry-After": str(exc.retry_after_s)}
    return {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}  # noqa: PLR2004
