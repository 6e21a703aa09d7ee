"""Publishes results while the engine runs the next batch: encodes images, stores them, ends the prediction."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import BoundedSemaphore

from app.logs import log
from app.metrics import STAGE_SECONDS, STORAGE_ERRORS, Stage
from app.predictions.catalog import parameters_of
from app.predictions.errors import LeaseLost, Unavailable, UnknownPrediction
from app.predictions.prediction import Cause, Failure, Output, Prediction
from app.predictions.store import Store, Transition
from app.storage import Storage
from app.storage.errors import StorageError
from app.tracing import add_span
from worker.engines import Result
from worker.job.credentials import ContentCredentials, UnusableCredentials
from worker.job.encode import encode
from worker.job.leases import Leases

BACKLOG = 2
"""How many results may wait for the publisher before the engine must wait. Multiplied by the batch size."""
STORE_ATTEMPTS = 5
"""With backoff they take 15 s, enough for a restart of the S3 server."""
PAUSE_S = 1.0


class Publisher:
    """Ends predictions in a thread of its own, so that the engine never waits for a codec or the storage."""

    def __init__(  # noqa: PLR0913 -- main wires each part by name
        self,
        store: Store,
        storage: Storage,
        leases: Leases,
        credentials: ContentCredentials | None = None,
        pause_s: float = PAUSE_S,
        backlog: int = BACKLOG,
    ) -> None:
        self._store = store
        self._storage = storage
        self._leases = leases
        self._credentials = credentials  # None if the operator has no certificate
        self._pause_s = pause_s  # before the first retry
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="publisher")
        self._backlog = BoundedSemaphore(backlog)
        self._deadline = float("inf")

    def publish(self, prediction: Prediction, owner: str, result: Result) -> None:
        """Take over a prediction, its lease and its result. Waits only while the backlog is full."""
        self._backlog.acquire()
        self._thread.submit(self._publish, prediction, owner, result)

    def close(self, within_s: float = float("inf")) -> None:
        """Publish the remaining results. After an outage of Redis of this length they are left to a later attempt."""
        self._deadline = time.monotonic() + within_s
        self._thread.shutdown()

    def _publish(self, prediction: Prediction, owner: str, result: Result) -> None:
        try:
            self._end(prediction, owner, result)
        except Exception:
            log.exception("publish_failed", prediction=prediction.id)
            raise
        finally:
            self._leases.drop(prediction.id)
            self._backlog.release()

    def _end(self, prediction: Prediction, owner: str, result: Result) -> None:
        folder = f"{prediction.id}/{owner}"
        started = time.perf_counter()
        transition = self._store_outputs(prediction, owner, folder, result)
        stored = time.perf_counter()
        try:
            ended = self._finish(prediction.id, transition)
        except (LeaseLost, UnknownPrediction):
            log.info("late_result_discarded", prediction=prediction.id)
            self._storage.delete(folder)
            return
        _record_stages(
            prediction,
            {
                Stage.GENERATE: result.generate_s,
                Stage.STORE: stored - started,
                Stage.FINISH: time.perf_counter() - stored,
            },
        )
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
        self, prediction: Prediction, owner: str, folder: str, result: Result
    ) -> Transition:
        """Store the output images. Returns the transition that ends the prediction as succeeded or failed."""
        try:
            outputs = self._put(prediction, folder, result)
        except UnusableCredentials as exc:  # it could sign at start and has expired since
            log.error("signing_failed", error=str(exc))
            failure = Failure(cause=Cause.ENGINE, message="the image could not be signed")
            return lambda p, now: p.fail(owner, failure, now)
        except StorageError as exc:
            failure = Failure(cause=Cause.STORAGE, message=str(exc))
            return lambda p, now: p.fail(owner, failure, now)
        return lambda p, now: p.succeed(owner, outputs, result.notes, now)

    def _put(self, prediction: Prediction, folder: str, result: Result) -> tuple[Output, ...]:
        parameters = parameters_of(prediction)
        output_format = parameters.output_format
        outputs = []
        for index, image in enumerate(result.images):
            key = f"{folder}/{index}.{output_format.suffix}"
            data = encode(image, output_format, parameters.output_quality)
            if self._credentials is not None:
                data = self._credentials.sign(data, output_format.media_type)
            self._put_one(key, data)
            height, width, _ = image.shape
            outputs.append(Output(key=key, width=width, height=height))
        return tuple(outputs)

    def _put_one(self, key: str, data: bytes) -> None:
        for attempt in range(STORE_ATTEMPTS):
            try:
                self._storage.put(key, data)
            except StorageError as exc:
                STORAGE_ERRORS.inc()
                log.warning("store_failed", key=key, error=str(exc))
                if attempt + 1 == STORE_ATTEMPTS:
                    raise
                time.sleep(self._pause_s * 2**attempt)
            else:
                return

    def _finish(self, prediction_id: str, transition: Transition) -> Prediction:
        """Store the end of a prediction, retrying while Redis is unavailable. Raises Lost or UnknownPrediction."""
        while True:
            try:
                return self._store.change(prediction_id, transition)
            except Unavailable:
                if time.monotonic() > self._deadline:
                    raise
                log.warning("finish_waits_for_redis", prediction=prediction_id)
                time.sleep(self._pause_s)


def _record_stages(prediction: Prediction, durations_s: dict[Stage, float]) -> None:
    """Record metrics and spans of consecutive stages, the last of which ends now."""
    at = datetime.now(UTC) - timedelta(seconds=sum(durations_s.values()))
    for stage, seconds in durations_s.items():
        STAGE_SECONDS.labels(stage).observe(seconds)
        ended_at = at + timedelta(seconds=seconds)
        add_span(
            stage,
            parent=prediction.traceparent,
            started_at=at,
            finished_at=ended_at,
            attributes={"klein.prediction": prediction.id},
        )
        at = ended_at
