"""The `klein` command."""

import asyncio
import os
import resource
import sys

import click
import redis
import uvicorn
from pydantic import ValidationError

from app.embedded import NoServer
from app.logs import configure_logs
from app.main import create_app
from app.settings import Settings
from app.tracing import configure_tracing
from app.up import up as run_tree

KEEP_ALIVE_S = 30
STOP_S = 30
OPEN_FILES = 65_536


@click.group(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="klein")
def main() -> None:
    """Group the commands."""


@main.command()
def up() -> None:
    """Start everything on this machine: Redis, api, worker and courier."""
    try:
        asyncio.run(run_tree(_settings()))
    except NoServer as exc:
        raise click.ClickException(str(exc)) from None


@main.command()
def api() -> None:
    """Start the api alone."""
    settings = _settings()
    configure_logs("api")
    try:
        configure_tracing("api", settings.otlp_endpoint)
        app = create_app(settings)
    except ValueError as exc:
        raise click.ClickException(f"klein api: {exc}") from None
    if not app.state.keys:
        raise click.ClickException("klein api: no API key; set KLEIN_API_KEYS")
    _allow_many_connections()
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        access_log=False,
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=STOP_S,
        server_header=False,
    )


@main.command()
def worker() -> None:
    """Start one worker, which holds the model."""
    _become("worker")


@main.command()
def courier() -> None:
    """Start the courier, which keeps house."""
    _become("courier")


def _allow_many_connections() -> None:
    """Let thousands of long polls wait: the usual limit of open files is 1,024, or 256 on macOS."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _become(process: str) -> None:
    """Turn into a process of the `worker` package, which this one must not import."""
    settings = _settings()
    try:
        redis.Redis.from_url(settings.redis, socket_connect_timeout=2).ping()
    except (redis.RedisError, ValueError) as exc:
        raise click.ClickException(
            f"klein {process}: Redis does not answer at {settings.redis_shown}: {exc}; set REDIS_URL"
        ) from None
    os.execv(sys.executable, [sys.executable, "-m", "worker.main", process])  # noqa: S606


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as exc:
        problems = "; ".join(f"{e['loc'][0]}: {e['msg']}" for e in exc.errors())
        raise click.ClickException(f"settings: {problems}") from None


if __name__ == "__main__":
    main()
