"""FastAPI's application without the layers that klein has no use for: each request would pass through them."""

from typing import Any

from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.telemetry import TelemetryConfig
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp


class Application(FastAPI):
    """Has no telemetry, no limit of bodies and no handler of unexpected errors.

    klein records spans of its own. Its routes limit their bodies. Its first middleware, `RequestLog`, handles unexpected errors.
    """

    def __init__(self, **options: Any) -> None:
        off: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False}
        super().__init__(telemetry=off, **options)

    def build_middleware_stack(self) -> ASGIApp:
        """Return the middleware, and in it the routes."""
        stack: ASGIApp = ExceptionMiddleware(
            AsyncExitStackMiddleware(self.router), handlers=self.exception_handlers
        )
        for middleware, arguments, options in reversed(self.user_middleware):
            stack = middleware(stack, *arguments, **options)
        return stack
