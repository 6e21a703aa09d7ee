"""`klein courier`: delivers webhooks and does maintenance."""

import click

from app.commands.execute import execute_module


@click.command()
def courier() -> None:
    """Start the courier, which delivers webhooks and does maintenance.

    It needs Redis (REDIS_URL). One courier is enough. Several share the work.
    """
    execute_module("worker.courier", command="klein courier")
