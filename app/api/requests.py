"""Gives every request an id, a trace span, one log line, and an error response if a route fails."""

import re
import time
import uuid
from functools import cache

from opentelemetry.trace import SpanKind
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import ErrorRenderer, respond
from app.api.headers import set_headers
from app.logs import log
from app.metrics import REQUEST_SECONDS, REQUESTS
from app.tracing import is_tracing, span

CLIENT_DISCONNECTED = 499  # in logs only, as in nginx
_ID = re.compile(r"[\x21-\x7e]{1,200}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NOT_LOGGED = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
_count_of, _seconds_of = cache(REQUESTS.labels), cache(REQUEST_SECONDS.labels)  # of few routes


class RequestLog:
    """Outermost ASGI middleware. No exception passes it while a response is possible."""

    def __init__(self, app: ASGIApp, error_renderer: ErrorRenderer) -> None:
        self._app = app
        self._error_renderer = error_renderer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"] in _NOT_LOGGED or not is_tracing():
            await self._serve(scope, receive, send)
            return
        parent = Headers(scope=scope).get("traceparent")
        with span(scope["method"], parent=parent, kind=SpanKind.SERVER) as request_span:
            status = await self._serve(scope, receive, send)
            request_span.update_name(f"{scope['method']} {_route(scope)}")
            request_span.set_attribute("http.response.status_code", status)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> int:
        sent_id = Headers(scope=scope).get("x-request-id", "")
        request_id = sent_id if _ID.fullmatch(sent_id) else str(uuid.uuid4())
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                set_headers(message, request_id)
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except ClientDisconnect:
            status = CLIENT_DISCONNECTED  # no client to respond to
        except Exception as exc:
            log.exception("request_failed", request=request_id)
            if status:
                raise  # the response has begun: close the connection
            await respond(self._error_renderer, scope, exc)(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            route = _route(scope)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            _count_of(method, route, status).inc()
            _seconds_of(method, route).observe(seconds)
            if scope["path"] not in _NOT_LOGGED:
                log.info(
                    "request",
                    request=request_id,
                    method=scope["method"],
                    path=scope["path"],
                    status=status,
                    ms=round(seconds * 1000, 1),
                )
        return status


def _route(scope: Scope) -> str:
    """Return the path template of the route, without ids."""
    return getattr(scope.get("route"), "path", "none")
