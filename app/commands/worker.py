"""`klein worker`: generates images."""

import click

from app.commands.execute import execute_module


@click.command()
def worker() -> None:
    """Start one worker, which runs the model. It needs Redis (REDIS_URL) and serves one GPU or the CPU."""
    execute_module("worker.main", command="klein worker")
