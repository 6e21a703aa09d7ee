"""What must be done from time to time whoever asks: heal lost tokens, delete what has expired."""

from app.logs import log
from app.metrics import REISSUED
from app.predictions.queue import Queues
from app.predictions.redis_errors import redis_errors
from app.predictions.store import Store
from app.storage import Storage
from app.storage.errors import StorageError


class Maintenance:
    """The reconciler and the retention; any number may run at once."""

    def __init__(self, store: Store, queues: Queues, storage: Storage) -> None:
        self._store = store
        self._queues = queues
        self._storage = storage

    def reconcile(self) -> int:
        """Issue a new token for each open prediction that nobody looks after; tell how many.

        What has waited for longer than it may ends instead.
        """
        issued = 0
        for prediction in self._store.claim_due():
            seen = self._store.change(prediction.id, lambda p, now: p.time_out_in_queue(now))
            if seen.status.is_final:
                log.info("prediction_given_up", prediction=prediction.id)
                continue
            with redis_errors():
                if self._queues.is_queued(seen):
                    self._store.check_at_queue_timeout(seen)
                    continue
            self._store.change(prediction.id, lambda p, _now: p.reissue())
            log.info("token_reissued", prediction=prediction.id, attempt=prediction.attempt)
            REISSUED.inc()
            issued += 1
        return issued

    def expire(self) -> int:
        """Delete the files and then the records whose retention has passed; tell how many."""
        deleted = 0
        for prediction in self._store.claim_expired():
            try:
                self._storage.delete(prediction.id)
            except StorageError as exc:  # later again, and the others meanwhile
                log.warning("files_not_deleted", prediction=prediction.id, error=str(exc))
                continue
            self._store.delete(prediction)
            deleted += 1
        return deleted
