"""`klein worker`: generates images."""

import click

from app.commands.execute import run_process


@click.command()
def worker() -> None:
    """Start one worker, which runs the model. It needs Redis (REDIS_URL) and serves one GPU or the CPU."""
    run_process("worker.main", command="klein worker")
