"""What can be wrong with an HTTP request whatever the dialect, and how errors become answers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app.predictions.errors import KleinError
from app.storage.errors import StorageError


class Unauthorized(KleinError):
    """The API key is missing or unknown."""


class BadBody(KleinError):
    """The body is not what the route reads."""


class BodyTooLarge(KleinError):
    """The body is over the limit; send less, or images by URL."""


class BadRequest(KleinError):
    """A parameter is missing or out of range."""

    def __init__(self, error: str, details: str) -> None:
        super().__init__(f"{error}: {details}")
        self.error = error
        self.details = details


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An error as a dialect words it."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


Dialect = Callable[[Exception], Answer]
DialectAt = Callable[[str, str], Dialect]  # by the method and path of the request


def install_errors(app: FastAPI, dialect_at: DialectAt) -> None:
    """Answer every error that a route raises in the words of the request's dialect."""

    async def handle(request: Request, exc: Exception) -> JSONResponse:
        answer = dialect_at(request.method, request.url.path)(exc)
        return JSONResponse(answer.body, answer.status, answer.headers)

    for kind in (KleinError, StorageError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, handle)
