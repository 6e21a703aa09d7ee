"""Chooses the waiting predictions of a batch: their orders differ in prompts, seed and previews alone."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from app.predictions.prediction import Prediction, Status
from app.predictions.queue import Queues, kind_of
from app.predictions.redis_errors import redis_errors
from app.predictions.store import Store
from worker.engines import Checkpoint, Order
from worker.job.order import order_of

CANDIDATES_PER_PLACE = 4
"""How many waiting predictions are examined for each free place in the batch."""


class BatchFinder:
    """Finds batch mates for a claimed prediction."""

    def __init__(self, store: Store, queues: Queues, checkpoints: Iterable[Checkpoint]) -> None:
        self._store = store
        self._queues = queues
        self._checkpoints = {checkpoint.kind: checkpoint for checkpoint in checkpoints}

    def find_batch_mates(self, first: Prediction) -> Iterator[str]:
        """Take predictions out of their lines that fit into one batch with `first`, and yield their ids.

        API keys take turns as without batches. A key whose next prediction does not fit keeps its place in
        the line and its turn. Raises Unavailable.
        """
        if first.attempt > 1 or (batch_key := _batch_key(first)) is None:
            return
        kind = kind_of(first)
        places = max_batch_size(self._checkpoints[kind], batch_key) - 1
        if places < 1:
            return
        with redis_errors():
            ids = self._queues.list_next(kind, places * CANDIDATES_PER_PLACE)
        closed: set[str] = set()
        for waiting in self._store.read_all(ids):
            if waiting.key_id in closed:
                continue
            if not _is_fresh(waiting) or _batch_key(waiting) != batch_key:
                closed.add(waiting.key_id)
                continue
            with redis_errors():
                is_taken = self._queues.take_one(waiting)
            if is_taken:
                yield waiting.id
                places -= 1
            if not places:
                return


def max_batch_size(checkpoint: Checkpoint, order: Order) -> int:
    """Return the largest batch of such orders. Larger images than the native size make it smaller."""
    if checkpoint.render_scaled or order.width is None or order.height is None:
        return checkpoint.batch
    size = max(order.width * order.height, checkpoint.native_size**2)
    return max(1, checkpoint.batch * checkpoint.native_size**2 // size)


def _is_fresh(prediction: Prediction) -> bool:
    """Return whether it was never attempted. A prediction that may have killed an engine runs alone."""
    return prediction.status is Status.QUEUED and prediction.attempt == 0


def _batch_key(prediction: Prediction) -> Order | None:
    """Return the order without what may differ in a batch. None means that it always runs alone."""
    order = order_of(prediction, ())
    if prediction.reference_keys or len(order.seeds) > 1:
        return None
    return replace(order, prompt="", negative_prompt="", seeds=(0,), previews=False)
