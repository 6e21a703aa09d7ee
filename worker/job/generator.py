"""Runs predictions: claims each one, has the engine generate its images, and passes them to the publisher."""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from math import inf

from app.logs import log
from app.metrics import BATCH_SIZE, ENGINE_DEATHS
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.failure import Cause
from app.predictions.prediction import Prediction
from app.predictions.queue import kind_of
from app.predictions.store import Taken
from app.predictions.timings import Timings
from app.storage.errors import StorageError
from worker.engine_client.pool import PooledEngine
from worker.engine_client.process import EngineDied, EngineGone
from worker.engine_client.request import EngineRequest, Outcome
from worker.engines import Cancelled, Result
from worker.engines.errors import RequestFailed
from worker.job.attempt import Attempt
from worker.job.attempt_records import AttemptRecords
from worker.job.input_files import InputFiles, read_failure
from worker.job.latch import Latch
from worker.job.leases import Lease, Leases, LeaseStage
from worker.job.measure import measure_engine
from worker.job.publisher import Publisher

ENGINE_STOP_S = 60.0
"""How long the engine may take to stop after its run timeout, and its process to end if it does not."""

Generated = tuple[Lease, Result, Timings]
"""What the publisher needs of an attempt whose images are generated."""
FindBatchMates = Callable[[Prediction], Iterable[str]]
"""Takes the ids of compatible predictions out of their lines, to form a batch with a claimed one."""


def no_batch_mates(_first: Prediction) -> tuple[str, ...]:
    """Return no batch mates, so that each prediction runs alone."""
    return ()


class Generator:
    """Claims predictions and drives the engine in a thread of its own."""

    def __init__(
        self,
        records: AttemptRecords,
        input_files: InputFiles,
        find_engine: Callable[[CheckpointKind], PooledEngine],
        leases: Leases,
        publisher: Publisher,
    ) -> None:
        self._records = records
        self._input_files = input_files
        self._find_engine = find_engine
        self._leases = leases
        self._publisher = publisher
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
                self._records.wait_for_engine(attempt, phase, left)

    def work(self, taken: Taken, find_batch_mates: FindBatchMates = no_batch_mates) -> None:
        """Claim a prediction and its batch mates and run them, unless it is final or has another owner.

        Returns shortly before the batch ends, so that the next prediction is claimed while the engine works.
        """
        is_nearly_done = Latch()
        first = self._claim(taken, is_nearly_done)
        if first is None:
            return
        batch = [first]
        try:
            mates = (
                self._claim(Taken(id=i), is_nearly_done) for i in find_batch_mates(first.prediction)
            )
            batch.extend(attempt for attempt in mates if attempt is not None)
        except Exception as exc:  # noqa: BLE001  # around a job: it runs without them, and they get new tokens
            log.warning("batch_not_filled", prediction=taken.id, error=str(exc))
        for attempt in batch:
            attempt.is_batched = len(batch) > 1
        try:
            self._last_batch = self._engine.submit(self._run_batch, batch)
        except RuntimeError:  # the worker is stopping
            self.release_all()
        is_nearly_done.wait()

    def _claim(self, taken: Taken, is_nearly_done: Latch) -> Attempt | None:
        claimed_s = time.monotonic()
        lease = self._records.claim(taken)
        if lease is None:
            return None
        self._leases.hold(lease)
        attempt = Attempt(lease=lease, is_nearly_done=is_nearly_done, claimed_s=claimed_s)
        self._attempts[attempt.owner] = attempt
        return attempt

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
        """Run a batch on the engine's thread, then restart the engine if it died or its memory grew too much."""
        generated: list[Generated] = []
        try:
            try:
                engine = self._find_engine(kind_of(batch[0].prediction))
                has_died = self._generate(engine, batch, generated)
            finally:
                self._hand_over(batch, generated)
            if self._is_stopping:
                return
            if has_died or not engine.client.alive:
                engine.supervisor.ensure_running()
            engine.supervisor.recycle_if_due()
        except Exception:  # noqa: BLE001  # around a job: logged, and the reconciler retries it after the lease
            log.exception(
                "attempt_failed", predictions=[attempt.prediction.id for attempt in batch]
            )

    def _hand_over(self, batch: Sequence[Attempt], generated: Sequence[Generated]) -> None:
        """Drop each lease that the publisher does not need, then have it publish the results.

        It starts at once, and would share the interpreter with whatever this thread did next.
        """
        published = {lease.owner for lease, _, _ in generated}
        for attempt in batch:
            if attempt.owner not in published:
                self._leases.drop(attempt.lease)
            self._attempts.pop(attempt.owner, None)
            attempt.is_nearly_done.set()
        for lease, result, timings in generated:
            self._publisher.publish(lease, result, timings)

    def _generate(
        self, engine: PooledEngine, batch: Sequence[Attempt], generated: list[Generated]
    ) -> bool:
        """Generate the images of a batch, add the results to `generated`, and end the attempts without one.

        Returns whether the engine died.
        """
        client = engine.client
        if not client.is_ready:
            engine.supervisor.ensure_running()
        for attempt in batch:
            self._records.begin(attempt)
        try:
            requests = [self._engine_request(attempt) for attempt in batch]
        except StorageError as exc:
            for attempt in batch:  # batch mates have the same LoRAs
                self._records.fail(attempt, read_failure(exc))
            return False
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
            if isinstance(outcome, Result) and not self._is_stopping:
                timings = measure_engine(
                    claimed_s=attempt.claimed_s,
                    began_s=began_s,
                    step_times=request.step_times,
                    steps_per_image=request.order.steps,
                    ended_s=ended_s,
                    batch=len(batch),
                )
                generated.append((attempt.lease, outcome, timings))
            else:
                self._end_without_result(attempt, outcome)
        return death is not None

    def _engine_request(self, attempt: Attempt) -> EngineRequest:
        timeouts = attempt.prediction.timeouts
        return EngineRequest(
            order=self._input_files.read_order(attempt.prediction),
            on_step=partial(self._records.advance, attempt),
            on_preview=attempt.keep_preview,
            timeout_s=timeouts.run.total_seconds() if timeouts else None,
        )

    def _end_without_result(self, attempt: Attempt, outcome: Outcome) -> None:
        """End the attempt by its outcome, which is none for the publisher."""
        match outcome:
            case Cancelled():
                log.info("attempt_cancelled", prediction=attempt.prediction.id)
            case Result() | EngineGone():
                # a result while the worker is stopping: again, as Redis may have been unavailable in `release_all`
                self._leases.release(attempt.lease)
            case EngineDied() if self._is_stopping:
                self._leases.release(attempt.lease)
            case EngineDied():
                self._records.retry(attempt, str(outcome))
            case RequestFailed(cause=Cause.TIMEOUT) if attempt.is_batched:
                self._records.retry(attempt, str(outcome))  # the next attempt runs alone
            case RequestFailed():
                self._records.fail(attempt, outcome.failure)
