"""Serves what klein adds to the hosted API for a page of images: search, the place in the queue, the timeline, deletion."""

import re
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from app.api.auth import KeyId
from app.api.compression import compress
from app.api.errors import BadRequest
from app.api.long_json import LongJson
from app.api.state import state_of
from app.dialects.dependencies import READ_SLOT, ReadSlotsOf, ServiceOf
from app.dialects.eachlabs import bodies, wire
from app.dialects.eachlabs.place_view import place_body
from app.dialects.eachlabs.responses import declare_errors, declare_responses
from app.dialects.eachlabs.routes import ViewOf
from app.predictions.page import Position
from app.predictions.prediction import Prediction, Status

router = APIRouter(tags=["predictions"], responses=declare_errors(401, 503))
SEARCH_MAX_LENGTH = 200  # characters
_CURSOR = re.compile(r"([0-9]{1,15})\.([0-9a-f-]{36})")
_STATUSES = {
    name: status for names in (wire.LIVE, wire.DOCUMENTED) for status, name in names.items()
}


@router.get(
    "/v1/history",
    response_model=None,
    responses=declare_responses(bodies.HistoryBody, 400, 429),
    dependencies=[READ_SLOT],
)
async def history(  # noqa: PLR0913 -- one argument a filter
    request: Request,
    key_id: KeyId,
    read_slots: ReadSlotsOf,
    view: ViewOf,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str, Query(description="The `cursor` of the page before.")] = "",
    prompt: Annotated[
        str,
        Query(
            max_length=SEARCH_MAX_LENGTH,
            description="Return only predictions whose prompt contains each of these words.",
        ),
    ] = "",
    model: Annotated[str, Query(description="Return only predictions of this model slug.")] = "",
    status: Annotated[
        str, Query(description=f"Comma-separated statuses: {', '.join(_STATUSES)}.")
    ] = "",
) -> Response:
    """List this key's predictions with their inputs, newest first. Not part of the hosted API."""
    statuses = _parse_statuses(status)
    words = prompt.casefold().split()

    def matches(prediction: Prediction) -> bool:
        return (
            (not model or prediction.model == model)
            and prediction.status in statuses
            and (not words or _contains(prediction.prompt, words))
        )

    after = _parse_cursor(cursor)

    def read() -> Response:
        page = state_of(request.app).history.find(key_id, matches=matches, after=after, limit=limit)
        body = LongJson(
            {
                "predictions": [wire.history_entry(view, p) for p in page.predictions],
                "cursor": None if page.rest is None else _format_cursor(page.rest),
            }
        )
        return compress(request, body)

    return await read_slots.read(key_id, read)


@router.get(
    "/v1/prediction/{prediction_id}/queue",
    response_model=None,
    responses=declare_responses(bodies.PlaceBody, 404),
)
async def place(
    request: Request, prediction_id: str, key_id: KeyId, service: ServiceOf
) -> Response:
    """Return the place of a prediction in the queue, and when it probably starts and ends. Not part of the hosted API."""
    prediction = await service.get(key_id, prediction_id)
    place = await run_in_threadpool(state_of(request.app).places.find, prediction)
    return JSONResponse(place_body(place))


@router.get(
    "/v1/prediction/{prediction_id}/timeline",
    response_model=None,
    responses=declare_responses(bodies.TimelineBody, 404),
)
async def timeline(
    request: Request, prediction_id: str, key_id: KeyId, service: ServiceOf, view: ViewOf
) -> Response:
    """Return how long a prediction was in each stage. Not part of the hosted API."""
    prediction = await service.get(key_id, prediction_id)
    outbox = state_of(request.app).outbox
    acknowledged_at = await run_in_threadpool(outbox.acknowledged_at, prediction)
    return JSONResponse(wire.timeline_body(view, prediction, acknowledged_at))


@router.delete(
    "/v1/prediction/{prediction_id}",
    status_code=204,
    response_model=None,
    responses=declare_errors(404),
)
def delete(prediction_id: str, key_id: KeyId, service: ServiceOf) -> Response:
    """Delete a prediction with everything that belongs to it. Not part of the hosted API."""
    service.delete(key_id, prediction_id)
    return Response(status_code=204)


def _contains(text: str, words: list[str]) -> bool:
    folded = text.casefold()
    return all(word in folded for word in words)


def _parse_statuses(text: str) -> frozenset[Status]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if any(name not in _STATUSES for name in names):
        raise BadRequest(
            "invalid status parameter", f"status: use a comma list of {', '.join(_STATUSES)}"
        )
    return frozenset(_STATUSES[name] for name in names) or frozenset(Status)


def _format_cursor(position: Position) -> str:
    return f"{position.created_ms}.{position.id}"


def _parse_cursor(text: str) -> Position | None:
    if not text:
        return None
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise BadRequest("invalid cursor parameter", "cursor: send one that this route returned")
    return Position(created_ms=int(match[1]), id=match[2])
