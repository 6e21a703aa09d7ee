"""Sends commands of operators to workers, and waits until they have followed them."""

import time

import click

from app.commands.redis_errors import report_redis_errors
from app.commands.settings import read_settings
from app.connections import open_redis
from app.predictions.worker_registry import (
    Worker,
    WorkerCommand,
    WorkerRegistry,
    WorkerState,
)

LIMITS_S = {WorkerCommand.UNLOAD: 60.0, WorkerCommand.LOAD: 900.0}
POLL_S = 0.5
WORKER = click.argument("name", required=False)


def command_workers(command: WorkerCommand, state: WorkerState, name: str | None) -> None:
    """Send a command to one worker, or to all, and wait until each is in this state. Raises click.ClickException."""
    settings = read_settings()
    with report_redis_errors(settings), open_redis(settings.redis, retry=None) as connection:
        registry = WorkerRegistry(connection)
        selected = _select(registry.present(), name)
        if command is WorkerCommand.LOAD and name is None:
            selected = _first_of_each(selected)
        names = [worker.name for worker in selected]
        for worker in names:
            registry.send(worker, command)
        waiting, gone = _wait(registry, names, state, LIMITS_S[command])
    if gone:
        raise click.ClickException(f"{', '.join(gone)}: no longer ready; see its log")
    if waiting:
        reason = "; it unloads once it has no work" if command is WorkerCommand.UNLOAD else ""
        raise click.ClickException(f"{', '.join(waiting)}: not {state} yet{reason}; see its log")


def _select(workers: list[Worker], name: str | None) -> list[Worker]:
    names = ", ".join(sorted(worker.name for worker in workers))
    if not workers:
        raise click.ClickException("no worker is ready; start one with `klein worker`")
    selected = [worker for worker in workers if name in {None, worker.name}]
    if not selected:
        raise click.ClickException(f"there is no worker {name}; the workers are {names}")
    return selected


def _first_of_each(workers: list[Worker]) -> list[Worker]:
    """Select one model of each worker: one that is loaded, if there is one, as memory may not hold all."""
    by_state = sorted(workers, key=lambda worker: worker.state is not WorkerState.READY)
    first: dict[str, Worker] = {}
    for worker in by_state:
        first.setdefault(worker.process_name, worker)
    return list(first.values())


def _wait(
    registry: WorkerRegistry, names: list[str], state: WorkerState, limit_s: float
) -> tuple[list[str], list[str]]:
    """Wait until the workers are in this state. Returns those that are not in time, and those that have left the registry."""
    ends = time.monotonic() + limit_s
    waiting, gone = names, list[str]()
    while waiting and time.monotonic() < ends:
        time.sleep(POLL_S)
        states = {worker.name: worker.state for worker in registry.present()}
        for name in waiting:
            if states.get(name) is state:
                click.echo(f"{name}   {state}")
        gone += [name for name in waiting if name not in states]
        waiting = [name for name in waiting if name in states and states[name] is not state]
    return waiting, gone
