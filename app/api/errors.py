"""Defines the errors of an HTTP request in any dialect, and renders every error as a response."""

from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import Scope

from app.api.methods import AllowedMethods
from app.predictions.errors import KleinError
from app.storage.errors import StorageError


class Unauthorized(KleinError):
    """The API key is missing or unknown."""


class BadBody(KleinError):
    """The body is not of the form that the route reads."""


class BodyTooLarge(KleinError):
    """The body is over the limit; send less, or send images by URL."""


class UnsatisfiableRange(KleinError):
    """The range begins after the end of the file; Content-Range says its length."""

    STATUS = 416

    def __init__(self, content_range: str) -> None:
        super().__init__(self.__doc__)
        self.content_range = content_range


class BadRequest(KleinError):
    """A parameter is missing or out of range."""

    def __init__(self, error: str, details: str) -> None:
        super().__init__(f"{error}: {details}")
        self.error = error
        self.details = details


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorResponse:
    """An error as a dialect renders it."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)


ROUTE_ERRORS = (KleinError, StorageError, HTTPException, RequestValidationError)
"""What a route may raise. Anything else is unexpected."""

RenderError = Callable[[Exception], ErrorResponse]
ErrorRenderer = Callable[[Scope], RenderError]  # by the request


def respond(error_renderer: ErrorRenderer, scope: Scope, exc: Exception) -> JSONResponse:
    """Return the response to a request that failed."""
    error = error_renderer(scope)(exc)
    return JSONResponse(error.body, error.status, error.headers)


def install_errors(app: FastAPI, error_renderer: ErrorRenderer) -> None:
    """Render every error that a route raises in the form of the request's dialect."""
    allowed = AllowedMethods(app)

    async def handle(request: Request, exc: Exception) -> Response:
        if isinstance(exc, HTTPException) and exc.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers = {"Allow": allowed.of(request.scope)}
            if request.method == "OPTIONS":
                return Response(status_code=204, headers=headers)
            exc = HTTPException(exc.status_code, exc.detail, headers)
        return respond(error_renderer, request.scope, exc)

    for kind in ROUTE_ERRORS:
        app.add_exception_handler(kind, handle)
