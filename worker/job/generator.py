"""The job: look at a prediction, and if it is due, claim it, draw it, and hand the pixels on."""

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Event

from app.logs import log
from app.metrics import BATCH_SIZE, ENGINE_DEATHS
from app.predictions.errors import Lost, Unavailable, UnknownPrediction
from app.predictions.parameters import OutputFormat
from app.predictions.prediction import Cause, Failure, Prediction
from app.predictions.store import Store
from app.storage import Storage
from app.storage.errors import FileMissing, StorageError
from worker.engine_client.client import EngineClient
from worker.engine_client.process import EngineDied, EngineGone
from worker.engine_client.request import EngineRequest, Outcome
from worker.engines import Cancelled, Result
from worker.engines.errors import RequestFailed
from worker.job.attempt import Attempt
from worker.job.encode import encode
from worker.job.leases import Leases
from worker.job.order import order_of
from worker.job.publisher import Publisher

PREVIEW_QUALITY = 70
PROGRESS_S = 0.03
"""Steps that follow each other faster are not recorded one by one."""


FindBatchMates = Callable[[Prediction], Iterable[str]]
"""Takes out of line the ids of whom a claimed prediction can be drawn at once with."""


def no_batch_mates(_first: Prediction) -> tuple[str, ...]:
    """Have each prediction drawn alone."""
    return ()


class Generator:
    """Claims predictions and drives the engine, which has a thread of its own."""

    def __init__(  # noqa: PLR0913 -- main wires each part by name
        self,
        store: Store,
        storage: Storage,
        client: EngineClient,
        leases: Leases,
        publisher: Publisher,
        ensure_running: Callable[[], None],
        recycle_if_due: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._storage = storage
        self._client = client
        self._leases = leases
        self._publisher = publisher
        self._ensure_running = ensure_running  # bring a dead engine back; returns once it is ready
        self._recycle_if_due = recycle_if_due  # runs between two attempts
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._last: Future[None] | None = None
        self._in_hand: dict[str, Attempt] = {}
        self._is_leaving = False

    def work(self, prediction_id: str, find_batch_mates: FindBatchMates = no_batch_mates) -> None:
        """Have a prediction drawn, at once with its company, unless it is final or somebody else's.

        Returns shortly before its end: the next one is claimed meanwhile, and waits for the engine.
        """
        is_nearly_done = Event()
        first = self._claim(prediction_id, is_nearly_done)
        if first is None:
            return
        batch = [first]
        try:
            others = (self._claim(i, is_nearly_done) for i in find_batch_mates(first.prediction))
            batch.extend(attempt for attempt in others if attempt is not None)
        except Exception as exc:  # noqa: BLE001  # around a job: it needs no company; who is out of line comes again
            log.warning("batch_not_filled", prediction=prediction_id, error=str(exc))
        for attempt in batch:
            attempt.is_batched = len(batch) > 1
        try:
            self._last = self._engine.submit(self._carry_out, batch)
        except RuntimeError:  # told to leave meanwhile
            self.give_back()
        is_nearly_done.wait()

    def _claim(self, prediction_id: str, is_nearly_done: Event) -> Attempt | None:
        owner = secrets.token_hex(8)
        try:
            prediction = self._store.change(prediction_id, lambda p, now: p.claim(owner, now))
        except (Lost, UnknownPrediction):
            return None
        if prediction.status.is_final:
            log.warning("prediction_given_up", prediction=prediction_id)
            return None
        attempt = Attempt(prediction=prediction, owner=owner, is_nearly_done=is_nearly_done)
        self._in_hand[owner] = attempt
        self._leases.hold(prediction_id, owner)
        return attempt

    def finish(self) -> None:
        """Wait until what was claimed is drawn. Raises SystemExit where the engine is gone for good."""
        with suppress(CancelledError):  # given back before its turn
            if self._last is not None:
                self._last.result()

    def give_back(self) -> None:
        """Release what is still in hand; no attempt is lost by it."""
        self._is_leaving = True
        for owner, attempt in list(self._in_hand.items()):
            self._leases.drop(attempt.prediction.id)
            self._release(attempt.prediction.id, owner)
            attempt.is_nearly_done.set()  # releases `work` where the attempt never begins
        self._engine.shutdown(wait=False, cancel_futures=True)

    def _carry_out(self, batch: Sequence[Attempt]) -> None:
        """Draw, on the engine's thread; then each lease is dropped, or is the publisher's."""
        handed_on: set[str] = set()
        try:
            self._draw(batch, handed_on)
            if not self._is_leaving:
                self._recycle_if_due()
        except Exception:  # noqa: BLE001  # around a job: recorded, and the lease's end brings it back
            log.exception(
                "attempt_failed", predictions=[attempt.prediction.id for attempt in batch]
            )
        finally:
            for attempt in batch:
                if attempt.owner not in handed_on:
                    self._leases.drop(attempt.prediction.id)
                self._in_hand.pop(attempt.owner, None)
                attempt.is_nearly_done.set()

    def _draw(self, batch: Sequence[Attempt], handed_on: set[str]) -> None:
        """Draw, and note whose pixels went to the publisher, who then holds the lease."""
        for attempt in batch:
            attempt.started_s = attempt.recorded_s = time.monotonic()
        if not self._client.is_ready:
            self._ensure_running()
        try:
            asked = [self._asked(attempt) for attempt in batch]
        except StorageError as exc:
            self._fail(batch[0], read_failure(exc))  # only what is drawn alone has references
            return
        BATCH_SIZE.observe(len(batch))
        outcomes = self._client.generate_batch(asked)
        died = next((outcome for outcome in outcomes if isinstance(outcome, EngineDied)), None)
        if died is not None and not self._is_leaving:
            ENGINE_DEATHS.inc()
            ids = [attempt.prediction.id for attempt in batch]
            log.error("engine_died", predictions=ids, error=str(died), last_output=died.last_output)
        for attempt, outcome in zip(batch, outcomes, strict=True):
            if self._settle(attempt, outcome):
                handed_on.add(attempt.owner)
        if not self._is_leaving and (died is not None or not self._client.alive):
            self._ensure_running()

    def _asked(self, attempt: Attempt) -> EngineRequest:
        prediction = attempt.prediction
        reference_files = tuple(self._storage.get(key) for key in prediction.reference_keys)
        return EngineRequest(
            order=order_of(prediction, reference_files),
            on_step=lambda step, steps: self._advance(attempt, step, steps),
            on_preview=attempt.keep_preview,
            timeout_s=prediction.timeouts.run.total_seconds() if prediction.timeouts else None,
        )

    def _settle(self, attempt: Attempt, outcome: Outcome) -> bool:
        """End the attempt as it went, and tell whether the publisher has taken over."""
        prediction, owner = attempt.prediction, attempt.owner
        match outcome:
            case Cancelled():
                log.info("prediction_stopped", prediction=prediction.id)
            case Result() | EngineDied() if self._is_leaving:
                pass  # it was given back
            case Result():
                self._publisher.publish(prediction, owner, outcome)
                return True
            case EngineGone():
                self._release(prediction.id, owner)
            case EngineDied():
                self._retry(attempt, str(outcome))
            case RequestFailed(cause=Cause.TIMEOUT) if attempt.is_batched:
                self._retry(attempt, str(outcome))  # the next attempt runs alone
            case RequestFailed():
                self._fail(attempt, outcome.failure)
        return False

    def _advance(self, attempt: Attempt, step: int, steps: int) -> bool:
        """Record a step; False where the prediction is no longer ours to draw."""
        now_s = time.monotonic()
        if attempt.is_near_end(step, steps, now_s):
            attempt.is_nearly_done.set()
        if step == steps or now_s - attempt.recorded_s < PROGRESS_S:
            return True  # the pixels, or the next step, are so near that they say it
        attempt.recorded_s = now_s
        try:
            if attempt.preview is not None:
                preview = encode(attempt.preview, OutputFormat.WEBP, PREVIEW_QUALITY)
                self._store.show(attempt.prediction.id, preview)
                attempt.preview = None
            self._store.change(
                attempt.prediction.id, lambda p, _now: p.advance(attempt.owner, step, steps)
            )
        except Lost:
            return False
        except Unavailable:
            log.warning("progress_not_recorded", prediction=attempt.prediction.id)
        return True

    def _retry(self, attempt: Attempt, reason: str) -> None:
        self._end_attempt(attempt.prediction.id, lambda p, now: p.retry(attempt.owner, reason, now))

    def _fail(self, attempt: Attempt, failure: Failure) -> None:
        self._end_attempt(attempt.prediction.id, lambda p, now: p.fail(attempt.owner, failure, now))

    def _release(self, prediction_id: str, owner: str) -> None:
        self._end_attempt(prediction_id, lambda p, now: p.release(owner, now))

    def _end_attempt(self, prediction_id: str, transition: Callable[..., Prediction]) -> None:
        try:
            ended = self._store.change(prediction_id, transition)
        except (Lost, Unavailable) as exc:  # the lease runs out and the reconciler goes on
            log.warning("attempt_not_ended", prediction=prediction_id, error=str(exc))
        else:
            log.info("attempt_ended", prediction=prediction_id, status=ended.status)


def read_failure(error: StorageError) -> Failure:
    """Return the failure of a prediction whose reference images cannot be read."""
    if isinstance(error, FileMissing):
        return Failure(cause=Cause.INPUT, message="an input image has expired; send it again")
    return Failure(cause=Cause.STORAGE, message=str(error))
