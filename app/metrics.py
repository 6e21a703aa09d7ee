"""Declares all Prometheus metrics; a label is an enum or a route, never an id."""

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, make_wsgi_app, start_http_server

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

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
ENGINE_READY = Gauge("klein_engine_ready", "1 while the worker's engine can take a prediction")
ENGINE_DEATHS = Counter("klein_engine_deaths", "Engine processes that ended unexpectedly")
BATCH_SIZE = Histogram(
    "klein_batch_size",
    "Predictions in one batch of the engine",
    buckets=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64),
)
STORAGE_ERRORS = Counter("klein_storage_errors", "Failed attempts to store an image")
WEBHOOK_ATTEMPTS = Counter("klein_webhook_attempts", "Webhook attempts", ("outcome",))
REISSUED = Counter(
    "klein_tokens_reissued", "Predictions whose lease or queue token was lost and issued anew"
)


def serve_metrics(host: str, port: int | None) -> None:
    """Serve `/metrics` beside a process that has no HTTP of its own. Raises ValueError.

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
    metrics: WSGIApplication = make_wsgi_app()

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/readyz":
            return metrics(environ, start_response)
        is_ready = REGISTRY.get_sample_value("klein_engine_ready") == 1
        status = "200 OK" if is_ready else "503 Service Unavailable"
        start_response(status, [("Content-Type", "text/plain")])
        return [b"ready\n" if is_ready else b"no engine is ready\n"]

    server.set_app(answer)
