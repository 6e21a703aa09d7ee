"""Runs predictions: claims each one, has the engine generate its images, and passes them to the publisher."""

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Event

from app.logs import log
from app.metrics import BATCH_SIZE, ENGINE_DEATHS
from app.predictions.errors import LeaseLost, Unavailable, UnknownPrediction
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
"""Shortest time between two stored steps."""


FindBatchMates = Callable[[Prediction], Iterable[str]]
"""Takes the ids of compatible predictions out of their lines, to form a batch with a claimed one."""


def no_batch_mates(_first: Prediction) -> tuple[str, ...]:
    """Run each prediction alone."""
    return ()


class Generator:
    """Claims predictions and drives the engine in a thread of its own."""

    def __init__(  # noqa: PLR0913 -- main wires each part by name
        self,
        store: Store,
        storage: Storage,
        client: EngineClient,
        leases: Leases,
        publisher: Publisher,
        ensure_running: Callable[[], None],
        recycle_if_due: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._storage = storage
        self._client = client
        self._leases = leases
        self._publisher = publisher
        self._ensure_running = ensure_running  # restarts a dead engine and returns once it is ready
        self._recycle_if_due = recycle_if_due  # called between two batches
        self._clock = clock
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._last_batch: Future[None] | None = None
        self._attempts: dict[str, Attempt] = {}
        self._is_stopping = False

    def work(self, prediction_id: str, find_batch_mates: FindBatchMates = no_batch_mates) -> None:
        """Claim a prediction and its batch mates and run them, unless it is final or has another owner.

        Returns shortly before the batch ends, so that the next prediction is claimed while the engine works.
        """
        is_nearly_done = Event()
        first = self._claim(prediction_id, is_nearly_done)
        if first is None:
            return
        batch = [first]
        try:
            mates = (self._claim(i, is_nearly_done) for i in find_batch_mates(first.prediction))
            batch.extend(attempt for attempt in mates if attempt is not None)
        except Exception as exc:  # noqa: BLE001  # around a job: it runs without them, and they get new tokens
            log.warning("batch_not_filled", prediction=prediction_id, error=str(exc))
        for attempt in batch:
            attempt.is_batched = len(batch) > 1
        try:
            self._last_batch = self._engine.submit(self._run_batch, batch)
        except RuntimeError:  # the worker is stopping
            self.release_all()
        is_nearly_done.wait()

    def _claim(self, prediction_id: str, is_nearly_done: Event) -> Attempt | None:
        owner = secrets.token_hex(8)
        try:
            prediction = self._store.change(prediction_id, lambda p, now: p.claim(owner, now))
        except (LeaseLost, UnknownPrediction):
            return None
        if prediction.status.is_final:
            log.warning("prediction_given_up", prediction=prediction_id)
            return None
        attempt = Attempt(prediction=prediction, owner=owner, is_nearly_done=is_nearly_done)
        self._attempts[owner] = attempt
        self._leases.hold(prediction_id, owner)
        return attempt

    def wait(self) -> None:
        """Wait until all claimed predictions have run. Raises SystemExit if the engine is in a crash loop."""
        with suppress(CancelledError):  # released before it ran
            if self._last_batch is not None:
                self._last_batch.result()

    def release_all(self) -> None:
        """Release all unfinished attempts. They do not count as attempts of their predictions."""
        self._is_stopping = True
        for owner, attempt in list(self._attempts.items()):
            self._leases.drop(attempt.prediction.id)
            self._release(attempt.prediction.id, owner)
            attempt.is_nearly_done.set()  # ends `work` if the attempt never starts
        self._engine.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Wait until the engine's thread has ended, after `release_all`."""
        self._engine.shutdown()

    def _run_batch(self, batch: Sequence[Attempt]) -> None:
        """Run a batch on the engine's thread, then drop each lease that the publisher does not need."""
        publishing: set[str] = set()
        try:
            self._generate(batch, publishing)
            if not self._is_stopping:
                self._recycle_if_due()
        except Exception:  # noqa: BLE001  # around a job: logged, and the reconciler retries it after the lease
            log.exception(
                "attempt_failed", predictions=[attempt.prediction.id for attempt in batch]
            )
        finally:
            for attempt in batch:
                if attempt.owner not in publishing:
                    self._leases.drop(attempt.prediction.id)
                self._attempts.pop(attempt.owner, None)
                attempt.is_nearly_done.set()

    def _generate(self, batch: Sequence[Attempt], publishing: set[str]) -> None:
        """Generate the images of a batch, and add the owners whose results the publisher took to `publishing`."""
        for attempt in batch:
            attempt.started_s = attempt.recorded_s = self._clock()
        if not self._client.is_ready:
            self._ensure_running()
        try:
            requests = [self._engine_request(attempt) for attempt in batch]
        except StorageError as exc:
            # a prediction with references has no batch mates
            self._fail(batch[0], read_failure(exc))
            return
        BATCH_SIZE.observe(len(batch))
        outcomes = self._client.generate_batch(requests)
        died = next((outcome for outcome in outcomes if isinstance(outcome, EngineDied)), None)
        if died is not None and not self._is_stopping:
            ENGINE_DEATHS.inc()
            ids = [attempt.prediction.id for attempt in batch]
            log.error("engine_died", predictions=ids, error=str(died), last_output=died.last_output)
        for attempt, outcome in zip(batch, outcomes, strict=True):
            if self._handle_outcome(attempt, outcome):
                publishing.add(attempt.owner)
        if not self._is_stopping and (died is not None or not self._client.alive):
            self._ensure_running()

    def _engine_request(self, attempt: Attempt) -> EngineRequest:
        prediction = attempt.prediction
        reference_files = tuple(self._storage.get(key) for key in prediction.reference_keys)
        return EngineRequest(
            order=order_of(prediction, reference_files),
            on_step=lambda step, steps: self._advance(attempt, step, steps),
            on_preview=attempt.keep_preview,
            timeout_s=prediction.timeouts.run.total_seconds() if prediction.timeouts else None,
        )

    def _handle_outcome(self, attempt: Attempt, outcome: Outcome) -> bool:
        """End the attempt by its outcome. Returns whether the publisher ends it instead."""
        prediction, owner = attempt.prediction, attempt.owner
        match outcome:
            case Cancelled():
                log.info("attempt_cancelled", prediction=prediction.id)
            case Result() | EngineDied() if self._is_stopping:
                pass  # `release_all` has released it
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
        """Store the progress. Returns False if the attempt has lost its lease."""
        now_s = self._clock()
        if attempt.is_near_end(step, steps, now_s):
            attempt.is_nearly_done.set()
        if step == steps or now_s - attempt.recorded_s < PROGRESS_S:
            return True  # the result or the next step follows soon
        attempt.recorded_s = now_s
        try:
            if attempt.preview is not None:
                preview = encode(attempt.preview, OutputFormat.WEBP, PREVIEW_QUALITY)
                self._store.store_preview(attempt.prediction.id, preview)
                attempt.preview = None
            self._store.change(
                attempt.prediction.id, lambda p, _now: p.advance(attempt.owner, step, steps)
            )
        except LeaseLost:
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
        except (LeaseLost, Unavailable) as exc:  # the lease expires and the reconciler continues
            log.warning("attempt_not_ended", prediction=prediction_id, error=str(exc))
        else:
            log.info("attempt_ended", prediction=prediction_id, status=ended.status)


def read_failure(error: StorageError) -> Failure:
    """Return the failure of a prediction whose reference images cannot be read."""
    if isinstance(error, FileMissing):
        return Failure(cause=Cause.INPUT, message="an input image has expired; send it again")
    return Failure(cause=Cause.STORAGE, message=str(error))
