"""Serves the busiest routes without FastAPI's resolving of parameters, which takes longer than what most of them do."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.params import Header, Query
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.types import Receive, Scope, Send


class DirectRoute(APIRoute):
    """A route whose endpoint is async and takes the request alone, from which it reads what it needs, the key included.

    FastAPI documents the parameters of its `dependencies`, and calls none of them. Without them it needs no exit stacks, which
    take 2 KB while a request waits. Errors pass to the handlers of the app. Parameters in the path are texts.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **named: Any) -> None:
        super().__init__(path, endpoint, **named)
        self._respond: Callable[[Request], Awaitable[Response]] = endpoint

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, also below the prefix of a dialect."""
        if self.methods and scope["method"] not in self.methods:
            await super().handle(scope, receive, send)  # refuses it
            return
        response = await self._respond(Request(scope, receive, send))
        await response(scope, receive, send)


class NumberParameter:
    """An optional number in a header or in the query, as it is declared for the documents, with its alias."""

    def __init__(self, declared: Header | Query) -> None:
        self._name = str(declared.alias)
        self._place = declared.in_.value
        self._number: TypeAdapter[float] = TypeAdapter(Annotated[float, declared])

    def read(self, request: Request) -> float | None:
        """Return the number, or None if the request has none. Raises RequestValidationError, as FastAPI does."""
        sent = request.headers if self._place == "header" else request.query_params
        text = sent.get(self._name)
        if text is None:
            return None
        try:
            return self._number.validate_python(text)
        except ValidationError as exc:
            errors = [error | {"loc": (self._place, self._name)} for error in exc.errors()]
            raise RequestValidationError(errors) from None
