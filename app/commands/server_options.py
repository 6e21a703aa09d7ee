"""Adds the options `--url` and `--key` to the client commands. It imports no settings: they need pydantic."""

import functools
import os
from collections.abc import Callable
from typing import Any

import click

from app.address import url_of
from app.commands.client import Server

URL_OPTION = click.option(
    "--url",
    envvar="KLEIN_URL",
    help="URL of the server. Default: KLEIN_URL, else the server on this machine.",
)
KEY_OPTION = click.option(
    "--key",
    envvar="KLEIN_API_KEY",
    help="API key. Default: KLEIN_API_KEY, else the first of KLEIN_API_KEYS.",
)


def server_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to a command and pass it the `server` that they name."""

    @URL_OPTION
    @KEY_OPTION
    @functools.wraps(command)
    def with_server(*args: Any, url: str | None, key: str | None, **options: Any) -> None:
        key = find_key(key)
        if key is None:
            raise click.ClickException("no API key; set KLEIN_API_KEY or use --key")
        command(*args, server=Server(url or local_url(), key), **options)

    return with_server


def find_key(key: str | None) -> str | None:
    """Return the key of the option or of the environment. Raises click.BadParameter."""
    key = (key or os.environ.get("KLEIN_API_KEYS", "").partition(",")[0]).strip()
    if not all("!" <= character <= "~" for character in key):
        raise click.BadParameter(
            "an API key has only visible ASCII characters", param_hint="--key or KLEIN_API_KEY"
        )
    return key or None


def local_url() -> str:
    """Return the URL of the server on this machine, by KLEIN_HOST and KLEIN_PORT."""
    host = os.environ.get("KLEIN_HOST") or "127.0.0.1"
    return url_of(host, os.environ.get("KLEIN_PORT") or "8000")
