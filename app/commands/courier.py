"""`klein courier`: delivers webhooks and does maintenance."""

import click

from app.commands.execute import run_process


@click.command()
def courier() -> None:
    """Start the courier, which delivers webhooks and does maintenance.

    It needs Redis (REDIS_URL). One courier is enough. Several share the work.
    """
    run_process("worker.courier", command="klein courier")
