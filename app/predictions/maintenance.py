"""Maintains the predictions: puts them back in line, replaces tokens, times out, and deletes after retention."""

import threading
from collections import Counter

from app.logs import log
from app.metrics import REISSUED
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import UnknownPrediction
from app.predictions.queue import Queues
from app.predictions.redis_errors import redis_errors
from app.predictions.store import Store
from app.predictions.sweep import NEVER, sweep
from app.storage import Storage

MAX_TOKENS = 1000  # replaced at once


class Maintenance:
    """Runs maintenance. Any number of processes may run it at once."""

    def __init__(self, store: Store, queues: Queues, storage: Storage) -> None:
        self._store = store
        self._queues = queues
        self._storage = storage
        self._missing: Counter[CheckpointKind] = Counter()

    def reconcile(self, stopping: threading.Event = NEVER) -> None:
        """Check the open predictions that are due, and replace lost tokens. Raises Unavailable.

        One past its queue timeout fails. One that neither runs nor waits in line is put in line.
        """
        sweep(self._store.claim_due, self._check, stopping)
        with redis_errors():
            missing = self._queues.missing_tokens()
        for kind in CheckpointKind:
            self._top_up(kind, missing[kind])

    def expire(self, stopping: threading.Event = NEVER) -> int:
        """Delete files and then records after their retention. Return how many. Raises Unavailable."""
        return sweep(self._store.claim_expired, self._delete, stopping)

    def _check(self, prediction_id: str) -> None:
        try:
            prediction = self._store.change(prediction_id, lambda p, now: p.time_out_in_queue(now))
        except UnknownPrediction:
            self._store.forget(prediction_id)
            return
        if prediction.status.is_final:
            log.info("prediction_given_up", prediction=prediction_id)
            return
        if self._store.plan_check(prediction):
            return
        self._store.queue(prediction)
        log.info("prediction_requeued", prediction=prediction_id, attempt=prediction.attempt)
        REISSUED.inc()

    def _top_up(self, kind: CheckpointKind, missing: int) -> None:
        """Replace tokens that were missing at two checks: at one, a worker may just have popped it."""
        lost = min(missing, self._missing[kind], MAX_TOKENS)
        with redis_errors():
            self._queues.add_tokens(kind, lost)
        self._missing[kind] = missing - lost
        if lost:
            log.info("tokens_replaced", checkpoint=kind, count=lost)
            REISSUED.inc(lost)

    def _delete(self, prediction_id: str) -> None:
        try:
            prediction = self._store.get(prediction_id)
        except UnknownPrediction:  # it was deleted, and an attempt may have stored files since
            self._storage.delete(prediction_id)
            self._store.forget(prediction_id)
            return
        self._storage.delete(prediction_id)
        self._store.delete(prediction)
