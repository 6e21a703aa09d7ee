"""Serves predictions and their history in the form of the hosted API."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from app.api.auth import CALLERS_KEY, KeyId
from app.api.direct_route import DirectRoute, NumberParameter
from app.api.long_json import LongJson
from app.api.state import state_of
from app.api.times import QueryTime
from app.dialects.dependencies import (
    READ_SLOT,
    ReadSlotsOf,
    ServiceOf,
    create_body,
    image_links_of,
    output_renderer,
    service_of,
    submit,
    wait_for_end,
)
from app.dialects.eachlabs import bodies, wire
from app.dialects.eachlabs.create_headers import (
    WAIT_MAX_S,
    CreateHeaders,
    declare_create_headers,
    preferred_wait,
    read_create_headers,
)
from app.dialects.eachlabs.output import CLASSIFICATIONS, classification_of
from app.dialects.eachlabs.place_view import place_headers
from app.dialects.eachlabs.responses import declare_errors, declare_responses
from app.dialects.image_links import RenderOutput
from app.predictions.prediction import Prediction
from app.predictions.service import Service
from app.predictions.submission import Submission

HISTORY = timedelta(days=90)


router = APIRouter(tags=["predictions"], responses=declare_errors(401, 503))
direct = APIRouter(
    tags=["predictions"], responses=declare_errors(401, 503), route_class=DirectRoute
)


def view_of(request: Request) -> wire.View:
    """Return what renders predictions for a caller."""
    image_links = image_links_of(request)
    return wire.View(
        base=image_links.base,
        status_names=state_of(request.app).status_words,
        retention=image_links.retention,
        link=image_links.link,
    )


async def _view(request: Request) -> wire.View:
    return view_of(request)


ViewOf = Annotated[wire.View, Depends(_view)]
_CREATE_DOCS = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": bodies.CreateBody.model_json_schema()}},
    }
}


_CREATE_PARAMETERS = [Depends(CALLERS_KEY), Depends(declare_create_headers)]


@direct.post(
    "/v1/prediction",
    response_model=None,
    openapi_extra=_CREATE_DOCS,
    responses=declare_responses(bodies.Accepted, 400, 402, 404, 409, 413, 422, 429),
    dependencies=_CREATE_PARAMETERS,
)
async def create(request: Request) -> Response:
    """Create a prediction and return its id."""
    key_id, headers = await CALLERS_KEY(request), read_create_headers(request)
    view = view_of(request)
    created = await _submit(request, key_id, service_of(request), view, headers)
    forecast = state_of(request.app).forecasts.get(created.id)
    return JSONResponse(view.accepted(created), headers=place_headers(forecast))


@direct.post(
    "/v1/prediction/run",
    response_model=None,
    openapi_extra=_CREATE_DOCS,
    responses=declare_responses(bodies.RunBody, 400, 402, 404, 409, 413, 422, 429),
    dependencies=_CREATE_PARAMETERS,
)
async def run(request: Request) -> Response:
    """Create a prediction and return its result. The status is 200 even if it failed."""
    key_id, headers = await CALLERS_KEY(request), read_create_headers(request)
    service, view = service_of(request), view_of(request)
    with service.wait_slot(key_id):
        created = await _submit(request, key_id, service, view, headers)
        ended = await wait_for_end(request, service, created, None)
    return JSONResponse(
        await _render(view.run, ended, output_renderer(ended, service, view)),
        headers=_numerics(ended),
    )


_WAIT = Query(
    alias="wait",
    ge=0,
    le=WAIT_MAX_S,
    description="Respond when the prediction is final, or after this many seconds.",
)
_WAIT_S = NumberParameter(_WAIT)


async def _declare_get(prediction_id: str, wait: Annotated[float | None, _WAIT] = None) -> None:
    """Declare the parameters of a get for the OpenAPI document."""


@direct.get(
    "/v1/prediction/{prediction_id}",  # noqa: FAST003 -- it takes the request alone
    response_model=None,
    responses=declare_responses(bodies.PredictionBody, 400, 404, 429),
    dependencies=[Depends(CALLERS_KEY), Depends(_declare_get)],
)
async def get(request: Request) -> Response:
    """Show a prediction. `?wait=` and `Prefer: wait=` wait until it is final."""
    key_id, wait = await CALLERS_KEY(request), _WAIT_S.read(request)
    service = service_of(request)
    prediction = await service.get(key_id, request.path_params["prediction_id"])
    timeout = preferred_wait(request) if wait is None else wait
    if timeout and not prediction.status.is_final:
        with service.wait_slot(key_id):
            prediction = await wait_for_end(request, service, prediction, timeout)
    view = view_of(request)  # after the wait, where it would take memory
    body = await _render(view.prediction, prediction, output_renderer(prediction, service, view))
    return JSONResponse(body, headers=_numerics(prediction))


async def _render(
    render: Callable[[Prediction, RenderOutput], dict[str, Any]],
    prediction: Prediction,
    show: RenderOutput,
) -> dict[str, Any]:
    """Render a prediction, in another thread if that reads its files."""
    if prediction.input.get("sync_mode") is True:
        return await run_in_threadpool(render, prediction, show)
    return render(prediction, show)


def _numerics(prediction: Prediction) -> dict[str, str]:
    """Return the header that says what drew the images."""
    text = prediction.numerics.encode("latin-1", "replace").decode("latin-1")
    return {"X-Klein-Numerics": text} if text else {}


@router.post(
    "/v1/prediction/{prediction_id}/cancel",
    response_model=None,
    responses=declare_responses(bodies.Accepted, 404, 409),
)
def cancel(prediction_id: str, key_id: KeyId, service: ServiceOf, view: ViewOf) -> Response:
    """Cancel a prediction that is not final."""
    return JSONResponse(view.cancelled(service.cancel(key_id, prediction_id)))


@router.get(
    "/v1/executions",
    response_model=None,
    responses=declare_responses(bodies.Executions, 400, 429),
    dependencies=[READ_SLOT],
)
@router.get(
    "/v2/executions", include_in_schema=False, response_model=None, dependencies=[READ_SLOT]
)
async def executions(  # noqa: PLR0913 -- one argument a filter
    key_id: KeyId,
    service: ServiceOf,
    read_slots: ReadSlotsOf,
    view: ViewOf,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    model: Annotated[str, Query(description="Return only predictions of this model slug.")] = "",
    status: Annotated[
        str, Query(description="Comma-separated statuses: created, starting, success, error.")
    ] = "",
    since: Annotated[
        QueryTime | None,
        Query(
            alias="from",
            description="Start of the period, in RFC 3339. Default: 90 days before `to`.",
        ),
    ] = None,
    to: Annotated[
        QueryTime | None, Query(description="End of the period, in RFC 3339. Default: now.")
    ] = None,
    error_classification: Annotated[
        str,
        Query(description=f"Comma-separated categories of failures: {', '.join(CLASSIFICATIONS)}."),
    ] = "",
) -> Response:
    """List this key's predictions, newest first."""
    statuses = wire.parse_statuses(status)
    classes = wire.parse_classifications(error_classification)
    until = to or datetime.now(UTC) + timedelta(minutes=1)
    start = since or _before(until, HISTORY)

    def matches(prediction: Prediction) -> bool:
        return (
            (not model or prediction.model == model)
            and prediction.status in statuses
            and (not classes or classification_of(prediction) in classes)
        )

    def read() -> Response:
        page = service.history(
            key_id,
            since=start,
            until=until,
            offset=offset,
            limit=limit,
            matches=matches if model or status or classes else None,
        )
        return LongJson(
            {
                "executions": [view.execution(prediction) for prediction in page.predictions],
                "total_count": page.total,
                "total_capped": page.is_capped,
                "offset": offset,
                "limit": limit,
            }
        )

    return await read_slots.read(key_id, read)


async def _submit(
    request: Request, key_id: str, service: Service, view: wire.View, headers: CreateHeaders
) -> Prediction:
    async with create_body(request, key_id) as (content, images):
        body = wire.parse_create(content)
        submission = Submission(
            key_id=key_id,
            slug=body.model,
            input=body.input,
            images=images,
            webhook=wire.read_webhook(body, view.base),
            idempotency=wire.read_idempotency(body, headers.idempotency_key),
            timeouts=headers.timeouts,
            retention=headers.retention,
        )
        return await submit(request, service, submission)


def _before(at: datetime, span: timedelta) -> datetime:
    return at - span if at > datetime.min.replace(tzinfo=UTC) + span else at
