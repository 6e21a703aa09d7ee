"""From pixels to a final record, beside the next generation: encode, store, then finish."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import BoundedSemaphore

from app.logs import log
from app.metrics import STAGE_SECONDS, STORAGE_ERRORS, Stage
from app.predictions.catalog import parameters_of
from app.predictions.errors import Lost, Unavailable, UnknownPrediction
from app.predictions.prediction import Cause, Failure, Output, Prediction
from app.predictions.store import Store, Transition
from app.storage import Storage
from app.storage.errors import StorageError
from app.tracing import add_span
from worker.engines import Result
from worker.job.credentials import ContentCredentials, UnusableCredentials
from worker.job.encode import encode
from worker.job.leases import Leases

BACKLOG = 2  # results that may wait here before the engine waits, for each that is drawn at once
STORE_ATTEMPTS = 5  # a quarter of a minute: an S3 that restarts costs no prediction
PAUSE_S = 1.0


class Publisher:
    """One thread that ends predictions, so that the engine never waits for a codec or a disk."""

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
        self._credentials = credentials  # signs each file where the operator has a certificate
        self._pause_s = pause_s  # before it tries again
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="publisher")
        self._room = BoundedSemaphore(backlog)
        self._ends_at = float("inf")

    def publish(self, prediction: Prediction, owner: str, result: Result) -> None:
        """Take over a prediction whose pixels are there; waits only while the backlog is full."""
        self._room.acquire()
        self._thread.submit(self._publish, prediction, owner, result)

    def close(self, within_s: float = float("inf")) -> None:
        """Finish what is left; where Redis stays away for so long, leave it to the next attempt."""
        self._ends_at = time.monotonic() + within_s
        self._thread.shutdown()

    def _publish(self, prediction: Prediction, owner: str, result: Result) -> None:
        try:
            self._end(prediction, owner, result)
        except Exception:
            log.exception("publish_failed", prediction=prediction.id)
            raise
        finally:
            self._leases.drop(prediction.id)
            self._room.release()

    def _end(self, prediction: Prediction, owner: str, result: Result) -> None:
        folder = f"{prediction.id}/{owner}"
        started = time.perf_counter()
        end = self._store_all(prediction, owner, folder, result)
        stored = time.perf_counter()
        try:
            ended = self._finish(prediction.id, end)
        except (Lost, UnknownPrediction):
            log.info("late_result_discarded", prediction=prediction.id)
            self._storage.delete(folder)
            return
        _tell_of_stages(
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

    def _store_all(
        self, prediction: Prediction, owner: str, folder: str, result: Result
    ) -> Transition:
        """Store the pictures; give the end that follows: a success with them, or why there is none."""
        try:
            outputs = self._put(prediction, folder, result)
        except UnusableCredentials as exc:  # it signed at start; by now it has expired
            log.error("signing_failed", error=str(exc))
            failure = Failure(cause=Cause.ENGINE, message="the picture could not be signed")
            return lambda p, now: p.fail(owner, failure, now)
        except StorageError as exc:
            failure = Failure(cause=Cause.STORAGE, message=str(exc))
            return lambda p, now: p.fail(owner, failure, now)
        return lambda p, now: p.succeed(owner, outputs, result.notes, now)

    def _put(self, prediction: Prediction, folder: str, result: Result) -> tuple[Output, ...]:
        parameters = parameters_of(prediction)
        output_format = parameters.output_format
        outputs = []
        for k, picture in enumerate(result.pictures):
            key = f"{folder}/{k}.{output_format.suffix}"
            data = encode(picture, output_format, parameters.output_quality)
            if self._credentials is not None:
                data = self._credentials.sign(data, output_format.media_type)
            self._put_one(key, data)
            height, width, _ = picture.shape
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
        """Write the end, however long Redis is away. Raises Lost or UnknownPrediction."""
        while True:
            try:
                return self._store.change(prediction_id, transition)
            except Unavailable:
                if time.monotonic() > self._ends_at:
                    raise
                log.warning("finish_waits_for_redis", prediction=prediction_id)
                time.sleep(self._pause_s)


def _tell_of_stages(prediction: Prediction, seconds_of: dict[Stage, float]) -> None:
    """Measure and trace the stages that end now, one after the other."""
    at = datetime.now(UTC) - timedelta(seconds=sum(seconds_of.values()))
    for stage, seconds in seconds_of.items():
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
