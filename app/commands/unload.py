"""`klein unload`: frees the GPU memory of workers that have no work."""

import click

from app.commands.worker_commands import WORKER, command_workers
from app.predictions.worker_registry import WorkerCommand, WorkerState


@click.command()
@WORKER
def unload(name: str | None) -> None:
    """Unload the model of workers that have no work, to free their GPU memory.

    NAME is a worker of `klein queue`. Without it, all workers unload. A worker that generates unloads once it has no work.
    The next prediction loads the model again. The command needs Redis (REDIS_URL).
    """
    command_workers(WorkerCommand.UNLOAD, WorkerState.ASLEEP, name)
