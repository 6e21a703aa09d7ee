"""The trace of one request, received over OpenTelemetry's own collector protocol."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from app.predictions.timeline import TimelineStage
from tests.support.api_client import order, until
from tests.support.klein_server import Klein, running_klein
from tests.support.webhook_receiver import Receiver, running_receiver

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
REQUEST = ("klein-api", "POST /v1/prediction")
AFTER = (
    *(("klein-worker", str(name)) for name in ("prediction", *TimelineStage)),
    ("klein-courier", "webhook"),
)


@pytest.fixture(scope="module")
def collector() -> Iterator[Receiver]:
    with running_receiver() as collector:
        yield collector


@pytest.fixture(scope="module")
def traced_klein(tiny_weights: Path, collector: Receiver) -> Iterator[Klein]:
    with running_klein(
        tiny_weights,
        KLEIN_ALLOW_HOSTS="127.0.0.1",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="200",
    ) as running:
        yield running


def spans(collector: Receiver) -> dict[tuple[str, str], tuple[str, str]]:
    """Return each span of the trace and its parent, by service and name."""
    parents = {}
    for call in list(collector.calls):
        packed = call.headers.get("Content-Encoding") == "gzip"
        body = gzip.decompress(call.body) if packed else call.body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = next(
                a.value.string_value
                for a in resource.resource.attributes
                if a.key == "service.name"
            )
            for scope in resource.scope_spans:
                for span in scope.spans:
                    if span.trace_id.hex() == TRACE:
                        parents[service, span.name] = (
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                        )
    return parents


def test_trace_spans_request_to_webhook(traced_klein: Klein, collector: Receiver) -> None:
    """api, worker and courier add their spans to the caller's trace, below its request."""
    with running_receiver() as receiver, traced_klein.client() as client:
        body = order() | {"webhook_url": receiver.url}
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
        assert client.post("/v1/prediction", json=body, headers=headers).status_code == 200
        until(lambda: set(spans(collector)) >= {REQUEST, *AFTER})

    parents = spans(collector)
    assert parents[REQUEST][1] == CALLER
    request = parents[REQUEST][0]
    assert [name for name in AFTER if parents[name][1] != request] == []
    assert [name for name in parents if name[0] == "klein-api"] == [REQUEST]  # none of FastAPI's


def test_engine_process_gets_no_trace_settings(traced_klein: Klein) -> None:
    """The trace settings are not in the environment of the engine process."""
    engine = traced_klein.part("engine")

    assert engine is not None
    assert not [name for name in engine.environ() if name.startswith("OTEL_")]
