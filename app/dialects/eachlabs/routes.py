"""The hosted API's routes; each one reads, asks the service, and answers in the wire's words."""

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
        words=state_of(request.app).status_words,
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
        description="A word of your own for this request, 1 to 255 visible ASCII characters. Sent again with "
        "the same body within a day it makes no second prediction; with another body it is a 409.",
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
            description="Seconds that this prediction may wait for a worker; ends as an error then.",
        ),
    ] = None,
    run: Annotated[
        float | None,
        Header(
            alias="X-Run-Timeout",
            gt=0,
            allow_inf_nan=False,
            description="Seconds that an attempt may run; ends as an error then.",
        ),
    ] = None,
) -> Timeouts:
    """Read how long a caller wants to wait; never longer than the setting allows."""
    most = service.timeouts
    return Timeouts(
        queue=_bounded("X-Queue-Timeout", queue, most.queue),
        run=_bounded("X-Run-Timeout", run, most.run),
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
    word: IdempotencyKey = None,
) -> Response:
    """Create a prediction and answer at once with its id."""
    return JSONResponse(view.accepted(_submit(key_id, body, service, view, timeouts, word)))


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
    word: IdempotencyKey = None,
) -> Response:
    """Create a prediction and answer when it has ended; 200 also where it failed."""
    with service.wait_slot(key_id):
        created = await run_in_threadpool(_submit, key_id, body, service, view, timeouts, word)
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
        Query(ge=0, le=WAIT_MAX_S, description="Answer at the end, or after this many seconds."),
    ] = None,
) -> Response:
    """Show a prediction: now, or with `?wait=` or `Prefer: wait=` the moment it ends."""
    prediction = await service.get(key_id, prediction_id)
    timeout = _preferred_wait(request) if wait is None else wait
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
    """Cancel a prediction that has not ended."""
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
    model: Annotated[str, Query(description="Only this model slug.")] = "",
    status: Annotated[
        str, Query(description="A comma list of created, starting, success, error.")
    ] = "",
    since: Annotated[
        datetime | None, Query(alias="from", description="RFC 3339; 90 days before `to` if absent.")
    ] = None,
    to: Annotated[datetime | None, Query(description="RFC 3339; now if absent.")] = None,
    error_classification: Annotated[str, Query(description="A comma list.")] = "",
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
    word: str | None,
) -> Prediction:
    return service.submit(
        key_id,
        body.model,
        body.input,
        wire.read_webhook(body, view.base),
        wire.read_idempotency(body, word),
        timeouts,
    )


def _bounded(header: str, asked_s: float | None, most: timedelta) -> timedelta:
    if asked_s is None:
        return most
    if asked_s > most.total_seconds():
        details = f"{header}: send at most {most.total_seconds():g} seconds"
        raise BadRequest(f"invalid {header} parameter", details)
    return timedelta(seconds=asked_s)


def _preferred_wait(request: Request) -> float:
    """Read `Prefer: wait=SECONDS`; it is a wish, so what is too long is cut and nonsense is no wish."""
    found = _PREFER_WAIT.search(request.headers.get("Prefer", ""))
    return min(float(found[1]), WAIT_MAX_S) if found else 0.0


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _before(at: datetime, span: timedelta) -> datetime:
    return at - span if at > datetime.min.replace(tzinfo=UTC) + span else at
