"""The `klein` command."""

import asyncio
import os
import resource
import sys
from contextlib import suppress

import click
import redis
import uvicorn

from app.api.protocol import DeadlineProtocol
from app.api.server import Server
from app.api.state import state_of
from app.commands import read_settings
from app.commands.doctor import doctor
from app.commands.keys import has_keys, keys
from app.commands.predict import predict
from app.commands.queue import queue
from app.connections import open_redis
from app.embedded import NoServer
from app.logs import configure_logs
from app.main import create_app
from app.tracing import configure_tracing
from app.up import up as run_tree
from app.version import VERSION

KEEP_ALIVE_S = 30
OPEN_FILES = 65_536


@click.group(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="klein")
def main() -> None:
    """Group the commands."""


for command in (predict, queue, keys, doctor):
    main.add_command(command)


@main.command()
def up() -> None:
    """Start everything on this machine: Redis, api, worker and courier."""
    try:
        asyncio.run(run_tree(read_settings()))
    except NoServer as exc:
        raise click.ClickException(str(exc)) from None


@main.command()
def api() -> None:
    """Start the api alone."""
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
            "klein api: no API key; set KLEIN_API_KEYS, or `klein keys create NAME`"
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


@main.command()
def worker() -> None:
    """Start one worker, which holds the model."""
    _become("worker", "worker.main")


@main.command()
def courier() -> None:
    """Start the courier, which keeps house."""
    _become("courier", "worker.courier")


def _allow_many_connections() -> None:
    """Let thousands of long polls wait: the usual limit of open files is 1,024, or 256 on macOS."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _become(process: str, module: str) -> None:
    """Turn into a process of the `worker` package, which this one must not import."""
    settings = read_settings()
    try:
        open_redis(settings.redis).ping()
    except (redis.RedisError, ValueError) as exc:
        raise click.ClickException(
            f"klein {process}: Redis does not answer at {settings.redis_shown}: {exc}; set REDIS_URL"
        ) from None
    os.execv(sys.executable, [sys.executable, "-P", "-m", module])  # noqa: S606


if __name__ == "__main__":
    main()
