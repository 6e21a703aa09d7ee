"""Starts the processes of the `worker` package, which `app` does not import."""

import os
import sys
from typing import NoReturn

import click
import redis

from app.commands.settings import read_settings
from app.connections import open_redis


def execute_module(module: str, command: str) -> NoReturn:
    """Replace this process by one that runs the module. Raises click.ClickException if Redis does not answer."""
    settings = read_settings()
    try:
        open_redis(settings.redis).ping()
    except (redis.RedisError, ValueError) as exc:
        raise click.ClickException(
            f"{command}: Redis does not answer at {settings.redis_shown}: {exc}; set REDIS_URL"
        ) from None
    # -P: a package `worker` of the user's own in the current directory is not this one
    os.execv(sys.executable, [sys.executable, "-P", "-m", module])  # noqa: S606
