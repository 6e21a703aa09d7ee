"""Records OpenTelemetry traces. Without an endpoint it records nothing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from opentelemetry import trace
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import Span, SpanKind

_tracer = trace.get_tracer("klein")
_is_on = False


def is_tracing() -> bool:
    """Return whether spans are recorded. The busiest code asks before it calls OpenTelemetry, which takes long to do nothing."""
    return _is_on


def configure_tracing(process: str, endpoint: str | None) -> None:
    """Send the spans of this process by OTLP over HTTP. The SDK reads the other OTEL_* variables.

    Raises ValueError if the SDK is not installed.
    """
    global _is_on  # noqa: PLW0603 -- OpenTelemetry's provider is global, too
    if endpoint is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415 -- optional
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415 -- optional
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 -- optional
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 -- optional
    except ImportError:
        raise ValueError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but the SDK is missing: pip install 'klein-server[telemetry]'"
        ) from None
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):  # no OTEL_SERVICE_NAME
        resource = resource.merge(Resource({SERVICE_NAME: f"klein-{process}"}))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    _is_on = True


def flush_traces() -> None:
    """Send the spans that wait, before a process exits without the interpreter's clean-up."""
    provider = trace.get_tracer_provider()
    if hasattr(provider, "force_flush"):  # else tracing is off
        provider.force_flush()


@contextmanager
def span(
    name: str,
    *,
    parent: str | None = None,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, str | int | float] | None = None,
) -> Iterator[Span]:
    """Record a span around the body. `parent` is a W3C traceparent, else the current span."""
    context = extract({"traceparent": parent}) if parent else None
    with _tracer.start_as_current_span(
        name, context=context, kind=kind, attributes=attributes
    ) as current:
        yield current


def add_span(
    name: str,
    *,
    parent: str | None,
    started_at: datetime,
    finished_at: datetime,
    attributes: Mapping[str, str | int | float],
) -> None:
    """Record a finished span. Does nothing if its request was not traced."""
    if parent is None:
        return
    finished = _tracer.start_span(
        name,
        context=extract({"traceparent": parent}),
        kind=SpanKind.CONSUMER,
        attributes=attributes,
        start_time=_ns(started_at),
    )
    finished.end(_ns(finished_at))


def traceparent() -> str | None:
    """Return the traceparent of the current span, for another process, or None while tracing is off."""
    if not _is_on:
        return None
    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier.get("traceparent")


def _ns(at: datetime) -> int:
    return round(at.timestamp() * 1e9)
