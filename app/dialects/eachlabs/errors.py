"""The domain's errors as the hosted API words and numbers them."""

from collections.abc import Callable
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from app.api.errors import Answer, BadBody, BadRequest, BodyTooLarge, Unauthorized
from app.predictions.errors import (
    AlreadyFinal,
    BudgetSpent,
    InvalidInput,
    KeyReused,
    Refused,
    TooManyRequests,
    Unavailable,
    UnknownModel,
    UnknownPrediction,
)
from app.storage.errors import FileMissing, StorageError
from app.uploads import AlreadySent, UnknownUpload
from app.webhooks.outbox import UnknownWebhook

RETRY_AFTER_S = 2
_NOTHING_HERE = "there is nothing at this path; /docs lists what there is"

_WORDS: dict[type[Exception], tuple[int, str]] = {
    InvalidInput: (400, "Invalid input for model"),
    Unauthorized: (401, "Invalid or missing API key"),
    BudgetSpent: (402, "payment required"),
    UnknownPrediction: (404, "Prediction not found"),
    UnknownModel: (404, "Failed to fetch model: model not found"),
    UnknownWebhook: (404, "webhook not found"),
    FileMissing: (404, "file not found"),
    UnknownUpload: (404, "upload not found"),
    AlreadyFinal: (409, "conflict"),
    KeyReused: (409, "conflict"),
    AlreadySent: (409, "conflict"),
    BodyTooLarge: (413, "request body too large"),
    BadBody: (422, "invalid request body"),
    TooManyRequests: (429, "too many requests"),
    Unavailable: (503, "service unavailable"),
    StorageError: (503, "service unavailable"),
}
_DETAILS: dict[type[Exception], Callable[[Any], Any]] = {
    InvalidInput: lambda exc: [{"field": p.field, "message": p.message} for p in exc.problems],
    Unauthorized: lambda _: "send a key as X-API-Key or as Authorization: Bearer",
    AlreadyFinal: lambda exc: f"the prediction has ended: {exc.status}",
    BadBody: str,
    Refused: str,
}
_HTTP_WORDS = {
    404: "not found",
    405: "method not allowed",
    429: "too many requests",
}


def answer(exc: Exception) -> Answer:
    """Word and number an error; what nobody foresaw is a 500 without details."""
    if isinstance(exc, BadRequest):
        return _body(400, exc.error, exc.details)
    if isinstance(exc, RequestValidationError):
        first = exc.errors()[0]
        name = first["loc"][-1]
        return _body(400, f"invalid {name} parameter", f"{name}: {first['msg']}")
    if isinstance(exc, HTTPException):
        error = _HTTP_WORDS.get(exc.status_code, str(exc.detail).lower())
        headers = dict(exc.headers or {})
        details = f"send {headers['Allow']}" if "Allow" in headers else _NOTHING_HERE
        return _body(exc.status_code, error, details, headers)
    for kind in type(exc).__mro__:
        if kind in _WORDS:
            status, error = _WORDS[kind]
            return _body(status, error, _details(exc), _retry_after(exc, status))
    return _body(500, "Internal server error", None)


def _details(exc: Exception) -> Any:
    describe = next((_DETAILS[kind] for kind in type(exc).__mro__ if kind in _DETAILS), None)
    return describe(exc) if describe else type(exc).__doc__ or ""


def _retry_after(exc: Exception, status: int) -> dict[str, str]:
    if isinstance(exc, Refused):
        return {"Retry-After": str(exc.retry_after_s)}
    return {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}  # noqa: PLR2004


def _body(status: int, error: str, details: Any, headers: dict[str, str] | None = None) -> Answer:
    body = {"status": status, "error": error, "message": error, "details": details}
    return Answer(status=status, body=body, headers=headers or {})
