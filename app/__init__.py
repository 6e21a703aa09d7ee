"""The API, the commands, and what all processes share."""

import sys

# Parts of libraries that load much and that klein does not use. None means their imports fail, as if they were not installed.
for _name in (
    "httpx._main",  # its command line, with rich and pygments
    "opentelemetry.sdk.metrics",  # redis-py loads it; klein's metrics are Prometheus's
):
    sys.modules.setdefault(_name, None)  # type: ignore[arg-type]  # as the import system has it
