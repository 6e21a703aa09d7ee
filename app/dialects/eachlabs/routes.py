"""Serves predictions and their history in the form of the hosted API."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from app.api.auth import KeyId
from app.api.errors import BadRequest
from app.api.state import state_of
from app.dialects.dependencies import (
    ImageLinksOf,
    JsonBody,
    ServiceOf,
    output_renderer,
    wait_for_end,
)
from app.dialects.eachlabs import bodies, wire
from app.dialects.eachlabs.output import classification_of
from app.dialects.eachlabs.responses import answers, refusals
from app.predictions.prediction import Prediction, Timeouts
from app.predictions.service import Service

WAIT_MAX_S = 60.0
HISTORY = timedelta(days=90)
_PREFER_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6}(?:\.\d{1,6})?)", re.IGNORECASE)


router = APIRouter(tags=["predictions"], responses=refusals(401, 503))


async def _view(request: Request, image_links: ImageLinksOf) -> wire.View:
    return wire.View(
        base=image_links.base,
        status_names=state_of(request.app).status_words,
        retention=image_links.retention,
        link=image_links.link,
    )


async def _body(body: JsonBody) -> bodies.CreateBody:
    return wire.parse_create(body)


ViewOf = Annotated[wire.View, Depends(_view)]
CreateBody = Annotated[bodies.CreateBody, Depends(_body)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Your own key for this request, 1 to 255 visible ASCII characters. A repeated request with "
        "the same body within a day returns the first prediction; with another body it is a 409.",
    ),
]


def _timeouts(
    service: ServiceOf,
    queue: Annotated[
        float | None,
        Header(
            alias="X-Queue-Timeout",
            gt=0,
            allow_inf_nan=False,
            description="Seconds that the prediction may wait for a worker before it fails.",
        ),
    ] = None,
    run: Annotated[
        float | None,
        Header(
            alias="X-Run-Timeout",
            gt=0,
            allow_inf_nan=False,
            description="Seconds that an attempt may run before it fails.",
        ),
    ] = None,
) -> Timeouts:
    """Read the caller's timeouts. Raises BadRequest where they exceed the setting."""
    maximum = service.timeouts
    return Timeouts(
        queue=_bounded("X-Queue-Timeout", queue, maximum.queue),
        run=_bounded("X-Run-Timeout", run, maximum.run),
    )


TimeoutsOf = Annotated[Timeouts, Depends(_timeouts)]
_CREATE_DOCS = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": bodies.CreateBody.model_json_schema()}},
    }
}


@router.post(
    "/v1/prediction",
    response_model=None,
    openapi_extra=_CREATE_DOCS,
    responses=answers(bodies.Accepted, 400, 402, 404, 409, 413, 422, 429),
)
@router.post("/v1/prediction/", include_in_schema=False, response_model=None)
def create(  # noqa: PLR0913 -- FastAPI passes each part by name
    key_id: KeyId,
    body: CreateBody,
    service: ServiceOf,
    view: ViewOf,
    timeouts: TimeoutsOf,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a prediction and return its id."""
    return JSONResponse(
        view.accepted(_submit(key_id, body, service, view, timeouts, idempotency_key))
    )


@router.post(
    "/v1/prediction/run",
    response_model=None,
    openapi_extra=_CREATE_DOCS,
    responses=answers(bodies.RunBody, 400, 402, 404, 409, 413, 422, 429),
)
@router.post("/v1/prediction/run/", include_in_schema=False, response_model=None)
async def run(  # noqa: PLR0913 -- FastAPI passes each part by name
    request: Request,
    key_id: KeyId,
    body: CreateBody,
    service: ServiceOf,
    view: ViewOf,
    timeouts: TimeoutsOf,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Create a prediction and return its result; the status is 200 also where it failed."""
    with service.wait_slot(key_id):
        created = await run_in_threadpool(
            _submit, key_id, body, service, view, timeouts, idempotency_key
        )
        ended = await wait_for_end(request, service, created, None)
    return JSONResponse(
        await run_in_threadpool(view.run, ended, output_renderer(ended, service, view))
    )


@router.get(
    "/v1/prediction/{prediction_id}",
    response_model=None,
    responses=answers(bodies.PredictionBody, 400, 404, 429),
)
async def get(  # noqa: PLR0913 -- FastAPI passes each part by name
    request: Request,
    prediction_id: str,
    key_id: KeyId,
    service: ServiceOf,
    view: ViewOf,
    wait: Annotated[
        float | None,
        Query(
            ge=0,
            le=WAIT_MAX_S,
            description="Respond when the prediction is final, or after this many seconds.",
        ),
    ] = None,
) -> Response:
    """Show a prediction; with `?wait=` or `Prefer: wait=` as soon as it is final."""
    prediction = await service.get(key_id, prediction_id)
    timeout = preferred_wait(request) if wait is None else wait
    if timeout and not prediction.status.is_final:
        with service.wait_slot(key_id):
            prediction = await wait_for_end(request, service, prediction, timeout)
    show = output_renderer(prediction, service, view)
    if prediction.input.get("sync_mode") is True:
        return JSONResponse(await run_in_threadpool(view.prediction, prediction, show))
    return JSONResponse(view.prediction(prediction, show))


@router.post(
    "/v1/prediction/{prediction_id}/cancel",
    response_model=None,
    responses=answers(bodies.Accepted, 404, 409),
)
@router.post("/v1/prediction/{prediction_id}/cancel/", include_in_schema=False, response_model=None)
def cancel(prediction_id: str, key_id: KeyId, service: ServiceOf, view: ViewOf) -> Response:
    """Cancel a prediction that is not final."""
    return JSONResponse(view.cancelled(service.cancel(key_id, prediction_id)))


@router.get(
    "/v1/executions",
    response_model=None,
    responses=answers(bodies.Executions, 400),
)
@router.get("/v2/executions", include_in_schema=False, response_model=None)
def executions(  # noqa: PLR0913 -- one argument a filter
    key_id: KeyId,
    service: ServiceOf,
    view: ViewOf,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    model: Annotated[str, Query(description="Return only predictions of this model slug.")] = "",
    status: Annotated[
        str, Query(description="Comma-separated statuses: created, starting, success, error.")
    ] = "",
    since: Annotated[
        datetime | None,
        Query(
            alias="from",
            description="Start of the period, in RFC 3339. Default: 90 days before `to`.",
        ),
    ] = None,
    to: Annotated[
        datetime | None, Query(description="End of the period, in RFC 3339. Default: now.")
    ] = None,
    error_classification: Annotated[
        str, Query(description="Comma-separated categories of failures.")
    ] = "",
) -> Response:
    """List this key's predictions, newest first."""
    statuses = wire.parse_statuses(status)
    classes = frozenset(part.strip() for part in error_classification.split(",") if part.strip())
    until = _aware(to) if to else datetime.now(UTC) + timedelta(minutes=1)
    start = _aware(since) if since else _before(until, HISTORY)

    def matches(prediction: Prediction) -> bool:
        return (
            (not model or prediction.model == model)
            and prediction.status in statuses
            and (not classes or classification_of(prediction) in classes)
        )

    page = service.history(
        key_id, since=start, until=until, matches=matches, offset=offset, limit=limit
    )
    return JSONResponse(
        {
            "executions": [view.execution(prediction) for prediction in page.predictions],
            "total_count": page.total,
            "total_capped": page.is_capped,
            "offset": offset,
            "limit": limit,
        }
    )


def _submit(  # noqa: PLR0913 -- all that a caller can say of a request
    key_id: str,
    body: bodies.CreateBody,
    service: Service,
    view: wire.View,
    timeouts: Timeouts,
    idempotency_key: str | None,
) -> Prediction:
    return service.submit(
        key_id,
        body.model,
        body.input,
        wire.read_webhook(body, view.base),
        wire.read_idempotency(body, idempotency_key),
        timeouts,
    )


def _bounded(header: str, seconds: float | None, maximum: timedelta) -> timedelta:
    if seconds is None:
        return maximum
    if seconds > maximum.total_seconds():
        details = f"{header}: send at most {maximum.total_seconds():g} seconds"
        raise BadRequest(f"invalid {header} parameter", details)
    return timedelta(seconds=seconds)


def preferred_wait(request: Request) -> float:
    """Read `Prefer: wait=SECONDS`, clamped to the maximum; an invalid preference is ignored."""
    match = _PREFER_WAIT.search(request.headers.get("Prefer", ""))
    return min(float(match[1]), WAIT_MAX_S) if match else 0.0


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _before(at: datetime, span: timedelta) -> datetime:
    return at - span if at > datetime.min.replace(tzinfo=UTC) + span else at
