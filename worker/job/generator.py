"""Runs predictions: claims each one, has the engine generate its images, and passes them to the publisher."""

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from math import inf
from pathlib import Path
from threading import Event

from app.logs import log
from app.metrics import BATCH_SIZE, ENGINE_DEATHS
from app.predictions.catalog import parameters_of
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.engine_start import EngineStart
from app.predictions.errors import (
    LeaseLost,
    Unavailable,
    UnknownPrediction,
    UnreadableRecord,
)
from app.predictions.lora_cache import FOLDER
from app.predictions.parameters import OutputFormat
from app.predictions.prediction import Cause, Failure, Prediction
from app.predictions.queue import kind_of
from app.predictions.store import Store
from app.predictions.timings import Timings
from app.storage import Storage
from app.storage.errors import FileMissing, StorageError
from worker.engine_client.pool import PooledEngine
from worker.engine_client.process import EngineDied, EngineGone
from worker.engine_client.request import EngineRequest, Outcome
from worker.engines import Cancelled, Result
from worker.engines.errors import RequestFailed
from worker.job.attempt import Attempt
from worker.job.encode import encode
from worker.job.leases import Lease, Leases, LeaseStage
from worker.job.lora_files import LoraFiles
from worker.job.measure import measure_engine
from worker.job.order import order_of
from worker.job.publisher import Publisher

PREVIEW_QUALITY = 70
PROGRESS_S = 0.1
"""Shortest time between two stored steps. Each is a synced write of the whole record."""
ENGINE_STOP_S = 60.0
"""How long the engine may take to stop after its run timeout, and its process to end if it does not."""


FindBatchMates = Callable[[Prediction], Iterable[str]]
"""Takes the ids of compatible predictions out of their lines, to form a batch with a claimed one."""


def no_batch_mates(_first: Prediction) -> tuple[str, ...]:
    """Return no batch mates, so that each prediction runs alone."""
    return ()


class Generator:
    """Claims predictions and drives the engine in a thread of its own."""

    def __init__(  # noqa: PLR0913 -- main wires each part by name
        self,
        store: Store,
        storage: Storage,
        find_engine: Callable[[CheckpointKind], PooledEngine],
        leases: Leases,
        publisher: Publisher,
        clock: Callable[[], float] = time.monotonic,
        lora_files: LoraFiles | None = None,
    ) -> None:
        self._store = store
        self._storage = storage
        self._find_engine = find_engine
        self._leases = leases
        self._publisher = publisher
        self._lora_files = lora_files or LoraFiles(storage, Path("loras"), 0)
        self._clock = clock
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self._last_batch: Future[None] | None = None
        self._attempts: dict[str, Attempt] = {}
        self._is_stopping = False

    @property
    def is_idle(self) -> bool:
        """Whether no claimed prediction waits for the engine or runs."""
        return not self._attempts

    def has_work(self, kind: CheckpointKind) -> bool:
        """Return whether a claimed prediction of a checkpoint kind waits for its engine or runs."""
        return any(kind_of(attempt.prediction) is kind for attempt in list(self._attempts.values()))

    def show_start(self, phase: str, left: timedelta | None) -> None:
        """Record a phase of the engine's start, and its estimated rest, on each prediction that waits for the engine."""
        for attempt in list(self._attempts.values()):
            if attempt.lease.stage is LeaseStage.WAITING:
                attempt.waits_for_start = True
                self._record_start(attempt, phase, left)

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
        claimed_s = time.monotonic()
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
        lease = Lease(prediction=prediction, owner=owner)
        self._leases.hold(lease)
        self._attempts[owner] = Attempt(
            lease=lease, is_nearly_done=is_nearly_done, claimed_s=claimed_s
        )
        return self._attempts[owner]

    def wait(self) -> None:
        """Wait until all claimed predictions have run. Raises SystemExit if the engine is in a crash loop."""
        with suppress(CancelledError):  # released before it ran
            if self._last_batch is not None:
                self._last_batch.result()

    def release_all(self) -> None:
        """Release all unfinished attempts. They do not count as attempts of their predictions."""
        self._is_stopping = True
        # first: `work` releases what it claims from now on
        self._engine.shutdown(wait=False, cancel_futures=True)
        for attempt in list(self._attempts.values()):
            self._leases.release(attempt.lease)
            attempt.is_nearly_done.set()  # ends `work` if the attempt never starts

    def close(self) -> None:
        """Wait until the engine's thread has ended, after `release_all`."""
        self._engine.shutdown()

    def _run_batch(self, batch: Sequence[Attempt]) -> None:
        """Run a batch on the engine's thread, then drop each lease that the publisher does not need."""
        publishing: set[str] = set()
        try:
            engine = self._find_engine(kind_of(batch[0].prediction))
            self._generate(engine, batch, publishing)
            if not self._is_stopping:
                engine.supervisor.recycle_if_due()
        except Exception:  # noqa: BLE001  # around a job: logged, and the reconciler retries it after the lease
            log.exception(
                "attempt_failed", predictions=[attempt.prediction.id for attempt in batch]
            )
        finally:
            for attempt in batch:
                if attempt.owner not in publishing:
                    self._leases.drop(attempt.lease)
                self._attempts.pop(attempt.owner, None)
                attempt.is_nearly_done.set()

    def _generate(
        self, engine: PooledEngine, batch: Sequence[Attempt], publishing: set[str]
    ) -> None:
        """Generate the images of a batch, and add the owners whose results the publisher took to `publishing`."""
        client = engine.client
        if not client.is_ready:
            engine.supervisor.ensure_running()
        for attempt in batch:
            self._begin(attempt)
        try:
            requests = [self._engine_request(attempt) for attempt in batch]
        except StorageError as exc:
            for attempt in batch:  # batch mates have the same LoRAs
                self._fail(attempt, read_failure(exc))
            return
        BATCH_SIZE.observe(len(batch))
        limit_s = max(request.timeout_s or inf for request in requests) + ENGINE_STOP_S
        for attempt in batch:
            attempt.lease.begin(LeaseStage.GENERATING, limit_s)
        began_s = time.monotonic()
        outcomes = client.generate_batch(requests)
        ended_s = time.monotonic()
        death = next((outcome for outcome in outcomes if isinstance(outcome, EngineDied)), None)
        if death is not None and not self._is_stopping:
            ENGINE_DEATHS.inc()
            ids = [attempt.prediction.id for attempt in batch]
            log.error(
                "engine_died", predictions=ids, error=str(death), last_output=death.last_output
            )
        for attempt, request, outcome in zip(batch, requests, outcomes, strict=True):
            timings = measure_engine(
                claimed_s=attempt.claimed_s,
                began_s=began_s,
                step_times=request.step_times,
                steps_per_image=request.order.steps,
                ended_s=ended_s,
            )
            if self._handle_outcome(attempt, outcome, replace(timings, batch=len(batch))):
                publishing.add(attempt.owner)
        if not self._is_stopping and (death is not None or not client.alive):
            engine.supervisor.ensure_running()

    def _engine_request(self, attempt: Attempt) -> EngineRequest:
        prediction = attempt.prediction
        reference_files = tuple(self._storage.get(key) for key in prediction.reference_keys)
        mask_file = self._storage.get(prediction.mask_key) if prediction.mask_key else b""
        lora_files = self._lora_files_of(prediction)
        return EngineRequest(
            order=order_of(prediction, reference_files, lora_files, mask_file),
            on_step=lambda step, steps: self._advance(attempt, step, steps),
            on_preview=attempt.keep_preview,
            timeout_s=prediction.timeouts.run.total_seconds() if prediction.timeouts else None,
        )

    def _lora_files_of(self, prediction: Prediction) -> dict[str, str]:
        """Return the local file of each fetched LoRA, by its storage key. Raises FileMissing or StorageError."""
        keys = [lora.key for lora in parameters_of(prediction).loras if lora.key]
        return {key: str(self._lora_files.find(key)) for key in keys}

    def _handle_outcome(self, attempt: Attempt, outcome: Outcome, timings: Timings) -> bool:
        """End the attempt by its outcome. Returns whether the publisher ends it instead."""
        match outcome:
            case Cancelled():
                log.info("attempt_cancelled", prediction=attempt.prediction.id)
            case Result() | EngineDied() if self._is_stopping:
                # again: Redis may have been unavailable in `release_all`
                self._leases.release(attempt.lease)
            case Result():
                self._publisher.publish(attempt.lease, outcome, timings)
                return True
            case EngineGone():
                self._leases.release(attempt.lease)
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
        except (LeaseLost, UnknownPrediction):
            return False
        except Unavailable:
            log.warning("progress_not_recorded", prediction=attempt.prediction.id)
        return True

    def _record_start(self, attempt: Attempt, phase: str, left: timedelta | None) -> None:
        with suppress(LeaseLost, UnknownPrediction, Unavailable):  # nothing depends on it
            self._store.change(
                attempt.prediction.id,
                lambda p, now: p.wait_for_engine(
                    attempt.owner, EngineStart.create(phase, left, now)
                ),
            )

    def _begin(self, attempt: Attempt) -> None:
        attempt.started_s = attempt.recorded_s = self._clock()
        if not attempt.waits_for_start:
            return
        attempt.claimed_s = time.monotonic()  # the start counts as waiting
        with suppress(LeaseLost, UnknownPrediction, Unavailable):  # its first step says so
            self._store.change(attempt.prediction.id, lambda p, now: p.begin(attempt.owner, now))

    def _retry(self, attempt: Attempt, reason: str) -> None:
        self._end_attempt(attempt.prediction.id, lambda p, now: p.retry(attempt.owner, reason, now))

    def _fail(self, attempt: Attempt, failure: Failure) -> None:
        self._end_attempt(attempt.prediction.id, lambda p, now: p.fail(attempt.owner, failure, now))

    def _end_attempt(self, prediction_id: str, transition: Callable[..., Prediction]) -> None:
        try:
            ended = self._store.change(prediction_id, transition)
        except (LeaseLost, UnknownPrediction, Unavailable) as exc:
            # the lease expires and the reconciler continues, or it was deleted
            log.warning("attempt_not_ended", prediction=prediction_id, error=str(exc))
        else:
            reason = ended.failure.message if ended.failure else None
            log.info("attempt_ended", prediction=prediction_id, status=ended.status, reason=reason)


def read_failure(error: StorageError) -> Failure:
    """Return the failure of a prediction whose reference images or LoRAs cannot be read."""
    if isinstance(error, FileMissing):
        if str(error).startswith(f"{FOLDER}/"):
            message = "a LoRA was deleted from the cache; send the request again"
            return Failure(cause=Cause.INPUT, message=message)
        return Failure(cause=Cause.INPUT, message="an input image has expired; send it again")
    return Failure(cause=Cause.STORAGE, message=str(error))
