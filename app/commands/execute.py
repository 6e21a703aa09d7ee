"""Starts the processes of the `worker` package, which `app` does not import."""

from importlib import import_module

import click
import redis

from app.commands.settings import read_settings
from app.connections import open_redis


def run_process(module: str, command: str) -> None:
    """Run a module's `main`, which imports the rest of it. Raises click.ClickException if Redis does not answer."""
    settings = read_settings()
    try:
        open_redis(settings.redis).ping()
    except (redis.RedisError, ValueError) as exc:
        raise click.ClickException(
            f"{command}: Redis does not answer at {settings.redis_shown}: {exc}; set REDIS_URL"
        ) from None
    import_module(module).main()
