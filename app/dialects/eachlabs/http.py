"""Collects the routers of the hosted API."""

from app.dialects.eachlabs import (
    events,
    history_routes,
    lora_routes,
    model_routes,
    routes,
    upload_routes,
    usage_routes,
    webhook_routes,
)
from app.dialects.eachlabs.errors import render_error
from app.dialects.http import HttpDialect

HTTP = HttpDialect(
    first=(routes.direct, routes.router),
    routers=(
        history_routes.router,
        model_routes.router,
        lora_routes.router,
        events.router,
        webhook_routes.router,
        upload_routes.router,
        usage_routes.router,
    ),
    render_error=render_error,
)
