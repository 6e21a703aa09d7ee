"""Runs queue tokens: each one claims and runs the next prediction."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.store import Taken
from worker.job.attempt import new_owner
from worker.job.generator import FindBatchMates, Generator, no_batch_mates

TakeNext = Callable[[CheckpointKind, str], Taken | None]
"""Takes the next prediction of a checkpoint kind out of its line for an owner. None if no prediction waits."""

_installed: tuple[Generator, TakeNext, FindBatchMates] | None = None


@contextmanager
def provide_dependencies(
    generator: Generator,
    take_next: TakeNext,
    find_batch_mates: FindBatchMates = no_batch_mates,
) -> Iterator[None]:
    """Provide the dependencies of `run_next` while the body runs."""
    global _installed  # noqa: PLW0603 -- RQ cannot pass dependencies to a job
    _installed = generator, take_next, find_batch_mates
    try:
        yield
    finally:
        _installed = None


def run_next(kind: CheckpointKind) -> None:
    """Run the next prediction of a checkpoint kind. This is the only function that a queue token can call."""
    if _installed is None:
        raise RuntimeError("this process is not a klein worker")
    generator, take_next, find_batch_mates = _installed
    taken = take_next(kind, new_owner())
    if taken is not None:
        generator.work(taken, find_batch_mates)
