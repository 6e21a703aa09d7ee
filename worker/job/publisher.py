"""Publishes results while the engine runs the next batch: encodes images, stores them, ends the prediction."""

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING

from app.logs import log
from app.metrics import STAGE_SECONDS, STORAGE_ERRORS, Stage
from app.predictions.catalog import parameters_of
from app.predictions.errors import LeaseLost, Unavailable, UnknownPrediction
from app.predictions.failure import Cause, Failure
from app.predictions.prediction import Output, Prediction
from app.predictions.store import Store, Transition
from app.predictions.timings import NOT_MEASURED, Timings
from app.storage import Storage
from app.storage.errors import StorageError
from app.storage.time_limit import LIMIT_S
from worker.deadline import Deadline
from worker.engines import Result
from worker.job.credentials import UnusableCredentials
from worker.job.describe import describe
from worker.job.encode import encode
from worker.job.leases import Lease, Leases, LeaseStage
from worker.job.stopwatch import Stopwatch

if TYPE_CHECKING:
    from worker.job.content_credentials import ContentCredentials

BACKLOG = 2
"""How many results may wait for the publisher before the engine must wait. Multiplied by the batch size."""
STORE_ATTEMPTS = 5
"""With backoff they take 15 s, enough for a restart of the S3 server."""
PAUSE_S = 1.0
PUBLISH_S = STORE_ATTEMPTS * LIMIT_S + PAUSE_S * (2 ** (STORE_ATTEMPTS - 1) - 1)
"""How long one result may take: every attempt to store a file runs into its limit, and the pauses between them."""


class Publisher:
    """Ends predictions in a thread of its own, so that the engine never waits for a codec or the storage."""

    def __init__(  # noqa: PLR0913 -- main wires each part by name
        self,
        store: Store,
        storage: Storage,
        leases: Leases,
        credentials: "ContentCredentials | None" = None,
        pause_s: float = PAUSE_S,
        backlog: int = BACKLOG,
        publish_s: float = PUBLISH_S,
    ) -> None:
        self._store = store
        self._storage = storage
        self._leases = leases
        self._credentials = credentials  # None if the operator has no certificate
        self._pause_s = pause_s  # before the first retry
        self._results: SimpleQueue[tuple[Lease, Result, Stopwatch] | None] = SimpleQueue()
        self._places: SimpleQueue[None] = SimpleQueue()  # that are free in the backlog
        for _ in range(backlog):
            self._places.put(None)
        self._publish_s = publish_s
        self._wait_s = publish_s * (backlog + 1)  # until those before it are published
        # not an executor, whose futures and semaphores take 20 functions for each result
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def publish(self, lease: Lease, result: Result, timings: Timings = NOT_MEASURED) -> None:
        """Take over a lease and its result. Waits only while the backlog is full."""
        stopwatch = Stopwatch(timings)
        lease.begin(LeaseStage.PUBLISHING, self._wait_s)
        self._places.get()
        self._results.put((lease, result, stopwatch))

    def close(self) -> None:
        """Publish the remaining results."""
        self._results.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (published := self._results.get()) is not None:
            self._publish(*published)
            del published  # the images, before the wait for the next one

    def _publish(self, lease: Lease, result: Result, stopwatch: Stopwatch) -> None:
        lease.begin(LeaseStage.PUBLISHING, self._publish_s)
        try:
            self._end(lease, result, stopwatch)
        except Exception:  # noqa: BLE001  # around a job: logged, and the reconciler retries it after the lease
            log.exception("publish_failed", prediction=lease.prediction.id)
        finally:
            self._leases.drop(lease)
            self._places.put(None)

    def _end(self, lease: Lease, result: Result, stopwatch: Stopwatch) -> None:
        prediction = lease.prediction
        folder = f"{prediction.id}/{lease.owner}"
        started = time.perf_counter()
        transition = self._store_outputs(lease, folder, result, stopwatch)
        stored = time.perf_counter()
        try:
            ended = self._finish(prediction.id, transition)
        except (LeaseLost, UnknownPrediction):
            log.info("late_result_discarded", prediction=prediction.id)
            self._storage.delete(folder)
            return
        STAGE_SECONDS.labels(Stage.GENERATE).observe(result.generate_s)
        STAGE_SECONDS.labels(Stage.STORE).observe(stored - started)
        STAGE_SECONDS.labels(Stage.FINISH).observe(time.perf_counter() - stored)
        log.info(
            "prediction_finished",
            prediction=prediction.id,
            status=ended.status,
            attempt=ended.attempt,
            generate_s=round(result.generate_s, 4),
            store_s=round(stored - started, 4),
            run_s=ended.run_time.total_seconds(),
        )

    def _store_outputs(
        self, lease: Lease, folder: str, result: Result, stopwatch: Stopwatch
    ) -> Transition:
        """Store the output images. Returns the transition that ends the prediction as succeeded or failed."""
        owner = lease.owner
        try:
            outputs = self._put(lease, folder, result, stopwatch)
        except UnusableCredentials as exc:  # it could sign at start and has expired since
            log.error("signing_failed", error=str(exc))
            failure = Failure(cause=Cause.ENGINE, message="the image could not be signed")
            return lambda p, now: p.fail(owner, failure, now)
        except StorageError as exc:
            failure = Failure(cause=Cause.STORAGE, message=str(exc))
            return lambda p, now: p.fail(owner, failure, now)
        timings, numerics = stopwatch.stop(), result.numerics
        return lambda p, now: p.succeed(owner, outputs, result.notes, now, timings, numerics)

    def _put(
        self, lease: Lease, folder: str, result: Result, stopwatch: Stopwatch
    ) -> tuple[Output, ...]:
        parameters = parameters_of(lease.prediction)
        output_format = parameters.output_format
        outputs = []
        for index, image in enumerate(result.images):
            key = f"{folder}/{index}.{output_format.suffix}"
            height, width, _ = image.shape
            text = describe(lease.prediction, index, (width, height))
            data = encode(image, output_format, parameters.output_quality, text)
            if self._credentials is not None:
                data = self._credentials.sign(data, output_format.media_type)
            with stopwatch:
                self._put_one(key, data, lease.deadline)
            outputs.append(Output(key=key, width=width, height=height))
        return tuple(outputs)

    def _put_one(self, key: str, data: bytes, deadline: Deadline) -> None:
        for attempt in range(STORE_ATTEMPTS):
            try:
                self._storage.put(key, data)
            except StorageError as exc:
                STORAGE_ERRORS.inc()
                log.warning("store_failed", key=key, error=str(exc))
                pause_s = self._pause_s * 2**attempt
                if attempt + 1 == STORE_ATTEMPTS or pause_s >= deadline.left_s:
                    raise
                time.sleep(pause_s)
            else:
                return

    def _finish(self, prediction_id: str, transition: Transition) -> Prediction:
        """Store the end of a prediction, retrying while Redis is unavailable. Raises LeaseLost or UnknownPrediction."""
        while True:
            try:
                return self._store.change(prediction_id, transition)
            except Unavailable:
                log.warning("finish_waits_for_redis", prediction=prediction_id)
                time.sleep(self._pause_s)
