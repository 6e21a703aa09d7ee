"""Which waiting predictions are drawn at once: those that agree in all but their words, their noise and who looks on."""

from collections.abc import Iterator
from dataclasses import replace

from app.predictions.catalog import MODELS
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.prediction import Prediction, Status
from app.predictions.queue import Queues
from app.predictions.redis_errors import redis_errors
from app.predictions.store import Store
from worker.engines import Checkpoint, Order
from worker.job.order import order_of

LOOKED_AT = 4  # times as many as there is room for


class BatchFinder:
    """Finds company for what is drawn next."""

    def __init__(self, store: Store, queues: Queues, checkpoint: Checkpoint) -> None:
        self._store = store
        self._queues = queues
        self._checkpoint = checkpoint

    def find_batch_mates(self, first: Prediction) -> Iterator[str]:
        """Take ids out of their lines that can be drawn at once with a claimed one. Raises Unavailable.

        They come in turns, as they would come alone. A key whose next prediction does not agree keeps it at the
        head of its line, and its turn.
        """
        if first.attempt > 1 or (wanted := _kind_of_order(first)) is None:
            return
        room = most_at_once(self._checkpoint, wanted) - 1
        if room < 1:
            return
        with redis_errors():
            ids = self._queues.following(_kind(first), room * LOOKED_AT)
        closed: set[str] = set()
        for waiting in self._store.read_all(ids):
            if waiting.key_id in closed:
                continue
            if not _is_fresh(waiting) or _kind_of_order(waiting) != wanted:
                closed.add(waiting.key_id)
                continue
            with redis_errors():
                is_ours = self._queues.pick(waiting)
            if is_ours:
                yield waiting.id
                room -= 1
            if not room:
                return


def most_at_once(checkpoint: Checkpoint, order: Order) -> int:
    """Tell how many such orders may be drawn at once: fewer where they are larger than the native size."""
    if checkpoint.render_scaled or order.width is None or order.height is None:
        return checkpoint.batch
    size = max(order.width * order.height, checkpoint.native_size**2)
    return max(1, checkpoint.batch * checkpoint.native_size**2 // size)


def _is_fresh(prediction: Prediction) -> bool:
    """Say whether it waits and has never been tried: what may have killed an engine is drawn alone."""
    return prediction.status is Status.QUEUED and prediction.attempt == 0


def _kind_of_order(prediction: Prediction) -> Order | None:
    """Give what must agree; None for what is always drawn alone."""
    order = order_of(prediction, ())
    if prediction.references or len(order.seeds) > 1:
        return None
    return replace(order, prompt="", negative_prompt="", seeds=(0,), previews=False)


def _kind(prediction: Prediction) -> CheckpointKind:
    return MODELS[prediction.model].checkpoint
