"""Serves the progress of a prediction as server-sent events. The hosted API has no such route."""

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from app.api.auth import KeyId
from app.api.state import state_of
from app.dialects.dependencies import ServiceOf, output_renderer
from app.dialects.eachlabs import bodies, wire
from app.dialects.eachlabs.place_view import place_body
from app.dialects.eachlabs.routes import ViewOf
from app.dialects.eachlabs.wire import View
from app.predictions.errors import Unavailable, UnknownPrediction
from app.predictions.place import Places
from app.predictions.prediction import Prediction, Status
from app.predictions.service import Service

# explicit, because FastAPI would declare errors as streams too
_ERROR = {"application/json": {"schema": bodies.ErrorBody.model_json_schema()}}
router = APIRouter(
    tags=["predictions"],
    responses={
        code: {"description": HTTPStatus(code).phrase, "content": _ERROR}
        for code in (401, 404, 429, 503)
    },
)
RETRY_MS = 1000  # after which a client reconnects
PLACE_S = 2.0  # between two looks at the place of a prediction that waits


async def _own_prediction(
    prediction_id: str, key_id: KeyId, service: ServiceOf
) -> AsyncGenerator[Prediction]:
    prediction = await service.get(key_id, prediction_id)
    with service.wait_slot(key_id):
        yield prediction


@router.get("/v1/prediction/{prediction_id}/events", response_class=EventSourceResponse)
async def events(
    request: Request,
    prediction: Annotated[Prediction, Depends(_own_prediction)],
    service: ServiceOf,
    view: ViewOf,
    last_event_id: Annotated[
        str, Header(description="The id of the last event received; it is not sent again.")
    ] = "",
) -> AsyncIterator[ServerSentEvent]:
    """Stream the events of a prediction: `status`, `queue`, `loading`, `progress`, `preview`, `timeline`, then `end` with the body of GET.

    A stream begins with the current state and closes after `end`. If it closes without `end`, connect again.
    """
    places = state_of(request.app).places
    sent_ids = {last_event_id}
    if last_event_id == "end":
        sent_ids.add("timeline")  # it came before
    async with aclosing(_states(service, prediction)) as states:
        async for state in states:
            for event in await _events(state, service, view, places):
                if event.id not in sent_ids:
                    sent_ids.add(str(event.id))
                    yield event


async def _events(
    prediction: Prediction, service: Service, view: View, places: Places
) -> list[ServerSentEvent]:
    """Return the events of a state. Equal events have equal ids."""
    if prediction.status.is_final:
        async with service.stream_turn(prediction.key_id):
            body = await run_in_threadpool(
                view.prediction, prediction, output_renderer(prediction, service, view)
            )
        timeline = wire.timeline_body(view, prediction)
        return [
            ServerSentEvent(event="timeline", id="timeline", data=timeline),
            ServerSentEvent(event="end", id="end", data=body),
        ]
    state = f"{prediction.status}-{prediction.attempt}"
    status = {"id": prediction.id, "status": view.status_names[prediction.status]}
    events = [ServerSentEvent(event="status", id=state, data=status, retry=RETRY_MS)]
    if prediction.status is Status.QUEUED:
        async with service.stream_turn(prediction.key_id):
            place = await run_in_threadpool(places.find, prediction)
        if place is not None:
            event_id = f"{state}-at-{place.ahead}"
            events.append(ServerSentEvent(event="queue", id=event_id, data=place_body(place)))
    if (start := prediction.engine_start) is not None:
        loading = {"phase": start.phase, "expected_wait_s": start.left_s(datetime.now(UTC))}
        events.append(ServerSentEvent(event="loading", id=f"{state}-{start.phase}", data=loading))
    if prediction.step:
        progress = {"step": prediction.step, "steps": prediction.steps}
        events.append(
            ServerSentEvent(event="progress", id=f"{state}-{prediction.step}", data=progress)
        )
    if prediction.step and prediction.input.get("previews") is True:
        preview = await service.preview(prediction)
        if preview is not None:
            image = f"data:image/webp;base64,{base64.b64encode(preview).decode()}"
            preview_data = {"step": prediction.step, "image": image}
            events.append(
                ServerSentEvent(
                    event="preview", id=f"{state}-{prediction.step}-preview", data=preview_data
                )
            )
    return events


async def _states(service: Service, prediction: Prediction) -> AsyncGenerator[Prediction]:
    """Yield the states of a prediction until it is final, deleted, or Redis fails."""
    try:
        async with aclosing(service.follow(prediction, PLACE_S)) as states:
            async for state in states:
                yield state
    except (Unavailable, UnknownPrediction):
        return
