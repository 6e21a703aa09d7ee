"""`klein api`: serves HTTP."""

import os
import resource
import sys
from contextlib import suppress

import click
import uvicorn

from app.address import is_loopback, require_free
from app.api.protocol import DeadlineProtocol
from app.api.server import Server
from app.api.state import state_of
from app.commands.keys import has_keys
from app.commands.settings import read_settings
from app.garbage import collect_as_usual
from app.keys import weak_key_problem
from app.logs import configure_logs, log
from app.main import create_app
from app.metrics import serve_metrics
from app.private_files import PRIVATE
from app.redis_requirements import require_redis
from app.tracing import configure_tracing

KEEP_ALIVE_S = 30
SWITCH_S = 0.001
"""How long a thread that reads a list may keep the interpreter from the event loop. Python's default is five times as long."""
OPEN_FILES = 65_536


@click.command()
def api() -> None:
    """Start one API process. It needs Redis (REDIS_URL) and at least one API key."""
    settings = read_settings()
    configure_logs("api", settings.log_format)
    os.umask(PRIVATE)
    if problem := weak_key_problem(settings.api_keys):
        raise click.ClickException(f"klein api: {problem}")
    try:
        configure_tracing("api", settings.otlp_endpoint)
        require_redis(
            settings.redis, settings.redis_shown, is_volatile_allowed=settings.allow_volatile_redis
        )
        app = create_app(settings)
    except ValueError as exc:
        raise click.ClickException(f"klein api: {exc}") from None
    state = state_of(app)
    try:
        serve_metrics(settings.host, settings.metrics_port, state.metrics_text.get)
    except ValueError as exc:
        raise click.ClickException(f"klein api: {exc}") from None
    if not state.keys and not has_keys(settings):
        raise click.ClickException(
            "klein api: there is no API key; set KLEIN_API_KEYS or run `klein keys create NAME`"
        )
    if settings.public_url is None and not is_loopback(settings.host):
        log.warning(
            "public_url_unset", advice="URLs name the Host of each request; set KLEIN_PUBLIC_URL"
        )
    try:
        require_free(settings.host, settings.port)
    except ValueError as exc:
        raise click.ClickException(f"klein api: {exc}") from None
    _allow_many_connections()
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_config=None,  # configure_logs did it
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=round(settings.grace.total_seconds()),
        server_header=False,
        http=DeadlineProtocol,
        ws="none",
    )
    server = Server(config, state.service, settings.grace)
    sys.setswitchinterval(SWITCH_S)
    collect_as_usual()
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
