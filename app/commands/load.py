"""`klein load`: loads the model of workers that are asleep, before a prediction needs it."""

import click

from app.commands.worker_commands import WORKER, command_workers
from app.predictions.worker_registry import WorkerCommand, WorkerState


@click.command()
@WORKER
def load(name: str | None) -> None:
    """Load the model of workers that are asleep, and wait until it is loaded.

    NAME is a worker of `klein queue`. Without it, all workers load. Of several models in one worker one is loaded. NAME
    chooses another one. The command needs Redis (REDIS_URL).
    """
    command_workers(WorkerCommand.LOAD, WorkerState.READY, name)
