"""Settings of logs, metrics and traces."""

from pydantic import BaseModel, Field

from app.log_format import LogFormat
from app.settings.value_types import HttpUrl


class TelemetrySettings(BaseModel):
    """The section Telemetry of docs/configuration.md."""

    log_format: LogFormat = Field(
        LogFormat.AUTO,
        alias="KLEIN_LOG_FORMAT",
        description="Format of the logs on stderr. `text`: for people. `json`: one object a line. `auto`: text on a terminal and under `klein up`, else JSON.",
    )
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        alias="KLEIN_METRICS_PORT",
        description="Port of `/metrics` of each process, on KLEIN_HOST. Unset: only the API serves them, on its own port."
        " Under `klein up` the courier uses the next port and the API its own.",
    )
    otlp_endpoint: HttpUrl | None = Field(
        None,
        alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="Endpoint that receives traces, by OTLP over HTTP. Unset: no traces. The SDK's other `OTEL_*` variables apply too.",
    )
