"""Collects the routers of OpenAI's API."""

from app.dialects.http import HttpDialect
from app.dialects.openai import file_routes, model_routes, routes
from app.dialects.openai.errors import render_error

HTTP = HttpDialect(
    routers=(model_routes.router, file_routes.router, routes.images),
    prefixed=(routes.azure,),
    render_error=render_error,
)
