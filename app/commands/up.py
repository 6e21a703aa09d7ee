"""`klein up`: starts the whole system on this machine."""

import asyncio
import subprocess
import sys

import click

from app.garbage import collect_as_usual
from app.plan import Plan
from app.up import up as run_system


@click.command()
def up() -> None:
    """Start the whole system on this machine: Redis, API, worker and courier.

    The command prints the URL and an API key when everything is ready. Ctrl-C stops all processes.
    """
    planning = subprocess.run(
        [sys.executable, "-P", "-m", "app.planning"],
        stdout=subprocess.PIPE,
        process_group=0,  # Ctrl-C comes to this process alone, which ends it
        check=False,
    )
    if planning.returncode:
        sys.exit(planning.returncode)  # it has said why
    collect_as_usual()
    asyncio.run(run_system(Plan.from_json(planning.stdout)))
