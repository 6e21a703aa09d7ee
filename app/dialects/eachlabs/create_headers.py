"""Reads the headers of a create, which lower the server's limits for one prediction, and `Prefer: wait=`."""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import Header, Request

from app.api.direct_route import NumberParameter
from app.api.errors import BadRequest
from app.api.state import state_of
from app.predictions.prediction import Timeouts

WAIT_MAX_S = 60.0
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6}(?:\.\d{1,6})?)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateHeaders:
    """What the headers of a create say."""

    timeouts: Timeouts
    retention: timedelta | None  # None means as long as the server's setting
    idempotency_key: str | None


def _seconds(name: str, description: str) -> Any:
    """Declare a header with a number of seconds."""
    return Header(alias=name, gt=0, allow_inf_nan=False, description=description)


_QUEUE = _seconds(
    "X-Queue-Timeout", "Seconds that the prediction may wait for a worker before it fails."
)
_RUN = _seconds("X-Run-Timeout", "Seconds that an attempt may run before it fails.")
_RETENTION = _seconds(
    "X-Retention", "Seconds that the prediction and its files are kept after it has ended."
)
_QUEUE_TIMEOUT, _RUN_TIMEOUT = NumberParameter(_QUEUE), NumberParameter(_RUN)
_KEPT = NumberParameter(_RETENTION)


async def declare_create_headers(
    queue: Annotated[float | None, _QUEUE] = None,
    run: Annotated[float | None, _RUN] = None,
    retention: Annotated[float | None, _RETENTION] = None,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            json_schema_extra={
                "minLength": 1,
                "maxLength": 255,
                "pattern": f"^{_IDEMPOTENCY_KEY.pattern}$",
            },
            description="Your own key for this request, 1 to 255 visible ASCII characters. A repeated request with "
            "the same body within a day returns the first prediction; with another body it is a 409.",
        ),
    ] = None,
) -> None:
    """Declare the headers for the OpenAPI document. `read_create_headers` reads them."""


def read_create_headers(request: Request) -> CreateHeaders:
    """Read the headers. Raises RequestValidationError, or BadRequest if one exceeds the server's limit."""
    queue, run = _QUEUE_TIMEOUT.read(request), _RUN_TIMEOUT.read(request)
    retention = _KEPT.read(request)
    idempotency_key = request.headers.get("Idempotency-Key")
    state = state_of(request.app)
    maximum, server_retention = state.service.timeouts, state.retention
    if idempotency_key is not None and not _IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise BadRequest(
            "invalid Idempotency-Key parameter",
            "Idempotency-Key: send 1 to 255 visible ASCII characters",
        )
    return CreateHeaders(
        timeouts=Timeouts(
            queue=_bounded("X-Queue-Timeout", queue, maximum.queue),
            run=_bounded("X-Run-Timeout", run, maximum.run),
        ),
        retention=None
        if retention is None
        else _bounded("X-Retention", retention, server_retention),
        idempotency_key=idempotency_key,
    )


def preferred_wait(request: Request) -> float:
    """Read `Prefer: wait=SECONDS`, clamped to the maximum. An invalid preference is ignored."""
    match = _PREFER_WAIT.search(request.headers.get("Prefer", ""))
    return min(float(match[1]), WAIT_MAX_S) if match else 0.0


def _bounded(header: str, seconds: float | None, maximum: timedelta) -> timedelta:
    if seconds is None:
        return maximum
    if seconds > maximum.total_seconds():
        details = f"{header}: send at most {maximum.total_seconds():g} seconds"
        raise BadRequest(f"invalid {header} parameter", details)
    return timedelta(seconds=seconds)
