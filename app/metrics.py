"""Declares all Prometheus metrics. A label is an enum or a route, never an id."""

import time
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
)

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

_FAST_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_WORK_S = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 300, 1800)


class Stage(StrEnum):
    """The stages of a prediction, in order."""

    QUEUED = "queued"
    GENERATE = "generate"
    STORE = "store"  # encoding included
    FINISH = "finish"


REQUESTS = Counter("klein_http_requests", "Requests served", ("method", "route", "status"))
REQUEST_SECONDS = Histogram(
    "klein_http_request_seconds",
    "Time to the end of the response, with the waiting time of long polls",
    ("method", "route"),
    buckets=_FAST_S,
)
ACCEPTED = Counter("klein_predictions_accepted", "Predictions that were queued", ("model",))
ENDED = Counter(
    "klein_predictions_ended",
    "Predictions that reached their final state, in the process that wrote it",
    ("model", "status", "cause"),
)
STAGE_SECONDS = Histogram(
    "klein_prediction_stage_seconds",
    "Time that predictions spend in each stage; the rate of generate's sum is the busy ratio",
    ("stage",),
    buckets=_WORK_S,
)
ESTIMATE_ERROR = Histogram(
    "klein_estimate_error_ratio",
    "Difference between the expected and the actual time from create to success, by the actual time",
    buckets=(0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2, 5, 10),
)
ENGINE_READY = Gauge("klein_engine_ready", "1 while the worker takes predictions, asleep or not")
ENGINE_STATE = Gauge(
    "klein_engine_state", "Engines of the worker in this state: one for each checkpoint", ("state",)
)
ENGINE_SWAPS = Counter(
    "klein_engine_swaps", "Engines that were unloaded because another one needed their memory"
)
ENGINE_WAKE_SECONDS = Histogram(
    "klein_engine_wake_seconds",
    "Time from the first prediction for an engine that is asleep until it is loaded",
    buckets=_WORK_S,
)
LAST_IMAGE = Gauge(
    "klein_last_image_timestamp_seconds",
    "Unix time of the last image that the worker's engine generated, canaries included",
)
CANARIES = Counter("klein_canaries", "Canaries, by outcome", ("outcome",))
ENGINE_DEATHS = Counter("klein_engine_deaths", "Engine processes that ended unexpectedly")
TIMEOUT_KILLS = Counter(
    "klein_engine_timeout_kills",
    "Engine processes killed because a request did not stop at its run timeout",
)
BATCH_SIZE = Histogram(
    "klein_batch_size",
    "Predictions in one batch of the engine",
    buckets=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64),
)
STORAGE_ERRORS = Counter("klein_storage_errors", "Failed attempts to store an image")
WEBHOOK_ATTEMPTS = Counter("klein_webhook_attempts", "Webhook attempts", ("outcome",))
REISSUED = Counter(
    "klein_tokens_reissued",
    "Predictions that were queued again after a lost lease, and lost queue tokens that were replaced",
)
UNREADABLE = Counter(
    "klein_records_unreadable",
    "Reads of records that are damaged or that another version of klein wrote",
)
MAINTENANCE_ERRORS = Counter(
    "klein_maintenance_errors", "Predictions and files that maintenance skipped because of an error"
)


def serve_metrics(
    host: str, port: int | None, write: Callable[[], bytes] = generate_latest
) -> None:
    """Serve `/metrics`, as `write` returns them, on a port of their own. Raises ValueError.

    `/readyz` there answers 503 until a worker's engine can take a prediction, so that a rollout waits for it.
    """
    if port is None:
        return
    try:
        server, _thread = start_http_server(port, host)
    except OSError as exc:
        raise ValueError(
            f"cannot serve metrics on {host}:{port} ({exc.strerror}); set KLEIN_METRICS_PORT"
        ) from None

    def respond(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/readyz":
            text = write()
            headers = [("Content-Type", CONTENT_TYPE_LATEST), ("Content-Length", str(len(text)))]
            start_response("200 OK", headers)
            return [text]
        is_ready = REGISTRY.get_sample_value("klein_engine_ready") == 1
        status = "200 OK" if is_ready else "503 Service Unavailable"
        start_response(status, [("Content-Type", "text/plain")])
        return [_readiness(is_ready=bool(is_ready)).encode()]

    server.set_app(respond)


def _readiness(*, is_ready: bool) -> str:
    image_at = REGISTRY.get_sample_value("klein_last_image_timestamp_seconds")
    age = f"last image {time.time() - image_at:.0f} s ago" if image_at else "no image yet"
    return f"ready\n{age}\n" if is_ready else "no engine is ready\n"
