"""What a queue token runs: claim and draw the prediction that is next in line."""

from collections.abc import Callable

from worker.job.generator import FindBatchMates, Generator, no_batch_mates

TakeNext = Callable[[], str | None]
"""Takes the next prediction id out of its line; None if nothing waits."""

_installed: tuple[Generator, TakeNext, FindBatchMates] | None = None


def install(
    generator: Generator,
    take_next: TakeNext,
    find_batch_mates: FindBatchMates = no_batch_mates,
) -> None:
    """Set what this process's tokens work with. RQ calls `run_next` by name and passes nothing."""
    global _installed  # noqa: PLW0603 -- RQ offers no place for a job's dependencies
    _installed = generator, take_next, find_batch_mates


def run_next() -> None:
    """Work on the prediction that is next in line. The only function that a queue token can call."""
    if _installed is None:
        raise RuntimeError("this process is not a klein worker")
    generator, take_next, find_batch_mates = _installed
    prediction_id = take_next()
    if prediction_id is not None:
        generator.work(prediction_id, find_batch_mates)
