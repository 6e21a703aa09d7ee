"""A prediction as it gets on, as server-sent events; the hosted API has no such route."""

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from app.api.auth import KeyId
from app.dialects.dependencies import ServiceOf, output_renderer
from app.dialects.eachlabs import bodies
from app.dialects.eachlabs.routes import ViewOf
from app.dialects.eachlabs.wire import View
from app.predictions.errors import Unavailable, UnknownPrediction
from app.predictions.prediction import Prediction
from app.predictions.service import Service

# written out, since FastAPI would declare errors as streams too
_ERROR = {"application/json": {"schema": bodies.ErrorBody.model_json_schema()}}
router = APIRouter(
    tags=["predictions"],
    responses={
        code: {"description": HTTPStatus(code).phrase, "content": _ERROR}
        for code in (401, 404, 429, 503)
    },
)
RETRY_MS = 1000  # after which a client whose stream was cut asks again


async def _own(prediction_id: str, key_id: KeyId, service: ServiceOf) -> AsyncGenerator[Prediction]:
    prediction = await service.get(key_id, prediction_id)
    with service.wait_slot(key_id):
        yield prediction


@router.get("/v1/prediction/{prediction_id}/events", response_class=EventSourceResponse)
async def events(
    prediction: Annotated[Prediction, Depends(_own)],
    service: ServiceOf,
    view: ViewOf,
    last_event_id: Annotated[
        str, Header(description="The last event that was received; it is not repeated.")
    ] = "",
) -> AsyncIterator[ServerSentEvent]:
    """Follow a prediction: `status`, `progress` and `preview` as it gets on, and `end` with what GET shows.

    Each stream begins with the present state and stops after `end`. One that stops without it was cut: ask again.
    """
    told = {last_event_id}
    async with aclosing(_followed(service, prediction)) as following:
        async for now in following:
            for event in await _events(now, service, view):
                if event.id not in told:
                    told.add(str(event.id))
                    yield event


async def _events(now: Prediction, service: Service, view: View) -> list[ServerSentEvent]:
    """Tell the state of a prediction; the id of an event names what it tells."""
    if now.status.is_final:
        body = await run_in_threadpool(view.prediction, now, output_renderer(now, service, view))
        return [ServerSentEvent(event="end", id="end", data=body)]
    at = f"{now.status}-{now.attempt}"
    status = {"id": now.id, "status": view.words[now.status]}
    told = [ServerSentEvent(event="status", id=at, data=status, retry=RETRY_MS)]
    if now.step:
        progress = {"step": now.step, "steps": now.steps}
        told.append(ServerSentEvent(event="progress", id=f"{at}-{now.step}", data=progress))
    if now.step and now.input.get("previews") is True:
        preview = await service.preview(now)
        if preview is not None:
            image = f"data:image/webp;base64,{base64.b64encode(preview).decode()}"
            shown = {"step": now.step, "image": image}
            told.append(ServerSentEvent(event="preview", id=f"{at}-{now.step}-preview", data=shown))
    return told


async def _followed(service: Service, prediction: Prediction) -> AsyncGenerator[Prediction]:
    """Follow the record until it ends, or until nobody can say more: then the stream is cut."""
    try:
        async with aclosing(service.follow(prediction)) as states:
            async for state in states:
                yield state
    except (Unavailable, UnknownPrediction):
        return
