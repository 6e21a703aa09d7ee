"""`klein api`: serves HTTP."""

import resource
import sys
from contextlib import suppress

import click
import uvicorn

from app.api.protocol import DeadlineProtocol
from app.api.server import Server
from app.api.state import state_of
from app.commands import read_settings
from app.commands.keys import has_keys
from app.logs import configure_logs
from app.main import create_app
from app.tracing import configure_tracing

KEEP_ALIVE_S = 30
OPEN_FILES = 65_536


@click.command()
def api() -> None:
    """Start one API process. It needs Redis (REDIS_URL) and at least one API key."""
    settings = read_settings()
    configure_logs("api")
    try:
        configure_tracing("api", settings.otlp_endpoint)
        app = create_app(settings)
    except ValueError as exc:
        raise click.ClickException(f"klein api: {exc}") from None
    state = state_of(app)
    if not state.keys and not has_keys(settings):
        raise click.ClickException(
            "klein api: there is no API key; set KLEIN_API_KEYS or run `klein keys create NAME`"
        )
    _allow_many_connections()
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=round(settings.grace.total_seconds()),
        server_header=False,
        http=DeadlineProtocol,
        ws="none",
    )
    server = Server(config, state.service, settings.grace)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(1)


def _allow_many_connections() -> None:
    """Raise the limit of open files, by default 1,024 or 256, for thousands of long polls."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
