"""Writes what happens to an attempt into the record of its prediction, unless another attempt owns that by now."""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from app.logs import log
from app.predictions.engine_start import EngineStart
from app.predictions.errors import (
    LeaseLost,
    Unavailable,
    UnknownPrediction,
    UnreadableRecord,
)
from app.predictions.failure import Failure
from app.predictions.parameters import OutputFormat
from app.predictions.prediction import Prediction
from app.predictions.store import Store, Taken
from worker.job.attempt import Attempt, new_owner
from worker.job.encode import encode
from worker.job.leases import Lease

PREVIEW_QUALITY = 70
PROGRESS_S = 0.1
"""Shortest time between two stored steps. Each is a synced write of the whole record."""


class AttemptRecords:
    """Applies the transitions of attempts. Only `claim` may raise Unavailable."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock  # in seconds

    def claim(self, taken: Taken) -> Lease | None:
        """Claim a prediction, unless it is claimed already. Returns None if it is final, deleted or unreadable, or has another owner."""
        if taken.claimed is not None and taken.claimed.owner is not None:
            return Lease(prediction=taken.claimed, owner=taken.claimed.owner)
        prediction_id, owner = taken.id, new_owner()
        try:
            prediction = self._store.change(prediction_id, lambda p, now: p.claim(owner, now))
        except (LeaseLost, UnknownPrediction):
            return None
        except UnreadableRecord as exc:
            log.error("record_unreadable", prediction=prediction_id, error=str(exc))
            return None
        if prediction.status.is_final:
            log.warning("prediction_given_up", prediction=prediction_id)
            return None
        return Lease(prediction=prediction, owner=owner)

    def wait_for_engine(self, attempt: Attempt, phase: str, left: timedelta | None) -> None:
        """Record which phase of its start the engine is in, and how long the start still takes."""
        attempt.waits_for_start = True
        with suppress(LeaseLost, UnknownPrediction, Unavailable):  # nothing depends on it
            self._store.change(
                attempt.prediction.id,
                lambda p, now: p.wait_for_engine(
                    attempt.owner, EngineStart.create(phase, left, now)
                ),
            )

    def begin(self, attempt: Attempt) -> None:
        """Set the start of the attempt. Record it if its record shows the start of the engine."""
        attempt.started_s = attempt.recorded_s = self._clock()
        if not attempt.waits_for_start:
            return
        attempt.claimed_s = time.monotonic()  # the start counts as waiting
        with suppress(LeaseLost, UnknownPrediction, Unavailable):  # its first step says so
            self._store.change(attempt.prediction.id, lambda p, now: p.begin(attempt.owner, now))

    def advance(self, attempt: Attempt, step: int, steps: int) -> bool:
        """Record that a step is done, and the latest preview. Returns False if the attempt has lost its lease."""
        now_s = self._clock()
        if not attempt.is_nearly_done.is_set and attempt.is_near_end(step, steps, now_s):
            attempt.is_nearly_done.set()
        if step == steps or now_s - attempt.recorded_s < PROGRESS_S:
            return True  # the result or the next step follows soon
        attempt.recorded_s = now_s
        try:
            if attempt.preview is not None:
                preview = encode(attempt.preview, OutputFormat.WEBP, PREVIEW_QUALITY)
                self._store.store_preview(attempt.prediction.id, preview)
                attempt.preview = None
            with attempt.lease.renewed_by_change() as is_renewed:
                self._store.change(
                    attempt.prediction.id,
                    lambda p, now: p.advance(
                        attempt.owner, step, steps, renewed_at=now if is_renewed else None
                    ),
                )
        except (LeaseLost, UnknownPrediction):
            return False
        except Unavailable:
            log.warning("progress_not_recorded", prediction=attempt.prediction.id)
        return True

    def retry(self, attempt: Attempt, reason: str) -> None:
        """Put the prediction back in line, or fail it after its last attempt."""
        self._end(attempt.prediction.id, lambda p, now: p.retry(attempt.owner, reason, now))

    def fail(self, attempt: Attempt, failure: Failure) -> None:
        """End the prediction as failed."""
        self._end(attempt.prediction.id, lambda p, now: p.fail(attempt.owner, failure, now))

    def _end(self, prediction_id: str, transition: Callable[..., Prediction]) -> None:
        try:
            ended = self._store.change(prediction_id, transition)
        except (LeaseLost, UnknownPrediction, Unavailable) as exc:
            # the lease expires and the reconciler continues, or it was deleted
            log.warning("attempt_not_ended", prediction=prediction_id, error=str(exc))
        else:
            reason = ended.failure.message if ended.failure else None
            log.info("attempt_ended", prediction=prediction_id, status=ended.status, reason=reason)
