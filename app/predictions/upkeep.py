"""What must be done from time to time whoever asks: heal lost tokens, delete what has expired."""

from app.logs import log
from app.predictions.queue import Queues
from app.predictions.store import Store
from app.storage import Storage


class Upkeep:
    """The reconciler and the retention; any number may run at once."""

    def __init__(self, store: Store, queues: Queues, storage: Storage) -> None:
        self._store = store
        self._queues = queues
        self._storage = storage

    def reconcile(self) -> int:
        """Issue a new token for each open prediction that nobody looks after; tell how many."""
        issued = 0
        for prediction in self._store.due():
            if self._queues.holds(prediction):
                continue
            self._store.change(prediction.id, lambda p, _now: p.reissue())
            log.info("token_reissued", prediction=prediction.id, attempt=prediction.attempt)
            issued += 1
        return issued

    def expire(self) -> int:
        """Delete the files and then the records whose retention has passed; tell how many."""
        expired = self._store.expired()
        for prediction in expired:
            self._storage.delete(prediction.id)
            self._store.delete(prediction)
        return len(expired)
