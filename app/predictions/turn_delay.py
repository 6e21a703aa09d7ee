"""Estimates how long the other models of a worker delay a prediction, as `worker.job.model_turns` orders them. Does no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from app.predictions.worker_registry import Worker, WorkerState

NONE = timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Another checkpoint of the same worker."""

    entry: Worker
    queued: timedelta  # how long the predictions that wait for it keep the worker


def turn_delay(
    entry: Worker, neighbours: Sequence[Neighbour], ahead: int, own_wait: timedelta
) -> timedelta:
    """Estimate the delay of a prediction for `entry`, behind `ahead` others that take `own_wait`. The start of its own engine is not in it.

    While its engine is not loaded, a loaded neighbour works for up to a turn. While it is, and neighbours with work are
    not, each turn of its own ends with one of theirs, with a start of their engines and of its own. Where all are loaded,
    they take turns for each prediction.
    """
    busy = [neighbour for neighbour in neighbours if neighbour.queued]
    queued = sum((neighbour.queued for neighbour in busy), NONE)
    turn = timedelta(seconds=entry.turn_s)
    asleep = [n.entry for n in busy if n.entry.state is not WorkerState.READY]
    if entry.state is not WorkerState.READY:
        return min(queued, turn) if len(asleep) < len(busy) else NONE
    if not asleep:
        return min(queued, own_wait)
    turns = min(ahead, own_wait // turn) if turn else ahead
    starts_s = entry.start_s + sum(other.start_s for other in asleep)
    return turns * timedelta(seconds=starts_s) + min(queued, turns * turn)
