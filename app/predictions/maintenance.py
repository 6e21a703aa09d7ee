"""Maintains the predictions: reissues lost tokens, times out, and deletes after retention."""

from app.logs import log
from app.metrics import REISSUED
from app.predictions.queue import Queues
from app.predictions.redis_errors import redis_errors
from app.predictions.store import Store
from app.storage import Storage
from app.storage.errors import StorageError


class Maintenance:
    """Runs maintenance; any number of processes may run it at once."""

    def __init__(self, store: Store, queues: Queues, storage: Storage) -> None:
        self._store = store
        self._queues = queues
        self._storage = storage

    def reconcile(self) -> int:
        """Reissue the tokens of open predictions that have none; return how many.

        A prediction past its queue timeout fails instead.
        """
        issued = 0
        for prediction in self._store.claim_due():
            checked = self._store.change(prediction.id, lambda p, now: p.time_out_in_queue(now))
            if checked.status.is_final:
                log.info("prediction_given_up", prediction=prediction.id)
                continue
            with redis_errors():
                if self._queues.is_queued(checked):
                    self._store.check_at_queue_timeout(checked)
                    continue
            self._store.change(prediction.id, lambda p, _now: p.reissue())
            log.info("token_reissued", prediction=prediction.id, attempt=prediction.attempt)
            REISSUED.inc()
            issued += 1
        return issued

    def expire(self) -> int:
        """Delete files and then records after their retention; return how many."""
        deleted = 0
        for prediction in self._store.claim_expired():
            try:
                self._storage.delete(prediction.id)
            except StorageError as exc:  # the next run tries again
                log.warning("files_not_deleted", prediction=prediction.id, error=str(exc))
                continue
            self._store.delete(prediction)
            deleted += 1
        return deleted
