"""`klein up`: starts the whole system on this machine."""

import asyncio
import os

import click

from app.commands.settings import read_settings
from app.commands.variables import unknown_variables
from app.embedded import NoServer
from app.garbage import collect_as_usual
from app.up import up as run_system


@click.command()
def up() -> None:
    """Start the whole system on this machine: Redis, API, worker and courier.

    The command prints the URL and an API key when everything is ready. Ctrl-C stops all processes.
    """
    settings = read_settings()
    collect_as_usual()
    for problem in unknown_variables(os.environ):
        click.echo(f"Warning: {problem}", err=True)
    try:
        asyncio.run(run_system(settings))
    except NoServer as exc:
        raise click.ClickException(str(exc)) from None
