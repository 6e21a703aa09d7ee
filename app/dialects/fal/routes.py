"""Serves fal's queue, direct runs and uploads, also through the URL of a proxy, and renders errors in fal's form."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from app.api.auth import KeyId
from app.api.errors import BadRequest, ErrorResponse, Unauthorized
from app.api.state import state_of
from app.dialects.dependencies import (
    ImageLinksOf,
    JsonBody,
    ServiceOf,
    UploadsOf,
    create_body,
    output_renderer,
    submit,
)
from app.dialects.errors import describe_error
from app.dialects.fal import wire
from app.dialects.http import HttpDialect
from app.dialects.image_links import ImageLinks
from app.dialects.run import NoImage, RunOf, succeeded
from app.images.media_type import SUFFIXES
from app.predictions.catalog import Model, find_model
from app.predictions.errors import AlreadyFinal, FieldProblem, InvalidInput
from app.predictions.failure import Cause
from app.predictions.prediction import Prediction, Timeouts
from app.predictions.problems import location
from app.predictions.service import Service
from app.predictions.submission import Submission
from app.uploads import DEFAULT_RETENTION

NOT_READY = "the request is still in progress; poll its status_url"
_REQUEST_ID = "x-fal-request-id"
router = APIRouter(include_in_schema=False)  # documented by fal
WithLogs = Annotated[bool, Query(alias="logs")]


async def _timeouts(
    service: ServiceOf,
    seconds: Annotated[
        float | None, Header(alias="x-fal-request-timeout", gt=0, allow_inf_nan=False)
    ] = None,
) -> Timeouts | None:
    """Return the limits of a request that must have started after this many seconds."""
    if seconds is None:
        return None
    most = service.timeouts
    return Timeouts(queue=timedelta(seconds=min(seconds, most.queue.total_seconds())), run=most.run)


TimeoutsOf = Annotated[Timeouts | None, Depends(_timeouts)]


class UploadBody(BaseModel):
    """The announcement of a file."""

    model_config = ConfigDict(strict=True, extra="ignore")

    content_type: str
    file_name: str = ""


@router.post("/run/{app_id:path}", response_model=None)
async def run(
    run: RunOf,
    app_id: str,
    service: ServiceOf,
    image_links: ImageLinksOf,
    timeouts: TimeoutsOf,
) -> Response:
    """Generate images and return them."""
    slug = wire.find_slug(app_id)
    body = await run.read_json()
    notes = wire.read_notes(body, await _find_model(run.service, slug))
    await run.submit(slug, [wire.read_input(body)], notes, timeouts=timeouts)
    [ended] = await run.wait()
    return await _output(ended, service, image_links)


@router.get("/queue/{app_id:path}/requests/{prediction_id}/status", response_model=None)
async def status(  # noqa: PLR0913 -- FastAPI passes each part by name
    app_id: str,
    prediction_id: str,
    key_id: KeyId,
    service: ServiceOf,
    image_links: ImageLinksOf,
    has_logs: WithLogs = False,
) -> Response:
    """Show the state of a prediction. The status is 202 until it has ended."""
    prediction = await service.get(key_id, prediction_id)
    body = wire.status_body(prediction, app_id, image_links, has_logs=has_logs)
    return JSONResponse(body, 200 if prediction.status.is_final else 202)


@router.get("/queue/{app_id:path}/requests/{prediction_id}/status/stream", response_model=None)
async def stream_status(  # noqa: PLR0913 -- FastAPI passes each part by name
    app_id: str,
    prediction_id: str,
    key_id: KeyId,
    run: RunOf,
    image_links: ImageLinksOf,
    has_logs: WithLogs = False,
) -> Response:
    """Stream the states of a prediction until it has ended."""
    prediction = await run.service.get(key_id, prediction_id)

    async def events() -> AsyncGenerator[str]:
        async with aclosing(run.service.follow(prediction)) as states:
            async for state in states:
                body = wire.status_body(state, app_id, image_links, has_logs=has_logs)
                yield f"data: {json.dumps(body)}\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@router.get("/queue/{app_id:path}/requests/{prediction_id}/response", response_model=None)  # noqa: FAST003 -- the id is enough
@router.get("/queue/{app_id:path}/requests/{prediction_id}", response_model=None)
async def result(
    prediction_id: str, key_id: KeyId, service: ServiceOf, image_links: ImageLinksOf
) -> Response:
    """Show the output of a prediction that has succeeded."""
    prediction = await service.get(key_id, prediction_id)
    if not prediction.status.is_final:
        raise BadRequest("not ready", NOT_READY)
    return await _output(succeeded(prediction), service, image_links)


@router.put("/queue/{app_id:path}/requests/{prediction_id}/cancel", response_model=None)  # noqa: FAST003 -- the id is enough
def cancel(prediction_id: str, key_id: KeyId, service: ServiceOf) -> Response:
    """Cancel a prediction that has not ended."""
    try:
        service.cancel(key_id, prediction_id)
    except AlreadyFinal:
        return JSONResponse({"status": "ALREADY_COMPLETED"}, 400)
    return JSONResponse({"status": "CANCELLATION_REQUESTED"}, 202)


@router.post("/queue/{app_id:path}", response_model=None)
async def create(  # noqa: PLR0913 -- FastAPI passes each part by name
    request: Request,
    app_id: str,
    key_id: KeyId,
    service: ServiceOf,
    image_links: ImageLinksOf,
    timeouts: TimeoutsOf,
    fal_webhook: Annotated[str, Query(max_length=2048)] = "",
) -> Response:
    """Create a prediction and return its id and URLs."""
    slug = wire.find_slug(app_id)
    webhook = wire.read_webhook(fal_webhook, image_links.base)
    async with create_body(request, key_id) as (body, images):
        submission = Submission(
            key_id=key_id,
            slug=slug,
            input=wire.read_input(body),
            images=images,
            webhook=webhook,
            timeouts=timeouts,
            notes=wire.read_notes(body, await _find_model(service, slug)),
        )
        created = await submit(request, service, submission)
    return JSONResponse(wire.status_body(created, app_id, image_links, has_logs=False))


@router.post("/rest/storage/upload/initiate", response_model=None)
def initiate_upload(
    request: Request, key_id: KeyId, body: JsonBody, uploads: UploadsOf, image_links: ImageLinksOf
) -> Response:
    """Return a URL to PUT an image to, and the URL that names it as an input."""
    try:
        parsed = UploadBody.model_validate(body)
    except ValidationError:
        message = "send the media type of the file"
        raise InvalidInput(FieldProblem(field="content_type", message=message)) from None
    if parsed.content_type not in SUFFIXES:
        message = f"send {', '.join(SUFFIXES)}; the models read nothing else"
        raise InvalidInput(FieldProblem(field="content_type", message=message))
    upload = uploads.open(key_id, parsed.content_type, DEFAULT_RETENTION, name=parsed.file_name)
    links = state_of(request.app).links
    upload_url = links.link(image_links.base, upload.key, upload.url_expires_at, verb="PUT")
    file_url = image_links.link(upload.key, upload.expires_at)
    return JSONResponse({"upload_url": upload_url, "file_url": file_url})


async def _find_model(service: Service, slug: str) -> Model:
    return find_model(slug, await run_in_threadpool(service.served_kinds))


class Forwarded(Response):
    """The response of another path of this server to the same request."""

    def __init__(self, request: Request, path: str, query: str) -> None:
        super().__init__()
        self._router = request.app.router
        self._target = {"path": path, "raw_path": path.encode(), "query_string": query.encode()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request at the other path."""
        await self._router({**scope, **self._target}, receive, send)


@router.api_route("", methods=["GET", "POST", "PUT"], response_model=None)
async def forward(request: Request) -> Response:
    """Serve the URL of fal in `x-fal-target-url`, which clients send to the URL of a proxy."""
    return Forwarded(request, *wire.find_target(request.headers.get("x-fal-target-url", "")))


def render_error(exc: Exception) -> ErrorResponse:
    """Render an error: `detail` is a list of the wrong fields, or a sentence."""
    description = describe_error(exc)
    status, headers = description.status, description.headers
    detail: Any = description.details or description.error
    if isinstance(exc, HTTPException):
        detail = f"{description.error}: {description.details}"
    if isinstance(exc, Unauthorized):
        detail = "Authentication is required: send a key of this server as Authorization: Key"
    if isinstance(exc, NoImage):
        status, detail = 400 if exc.is_caller_error else 500, str(exc)
        if (
            exc.cause is Cause.QUEUE_TIMEOUT
        ):  # with this header fal's clients do not repeat the request
            headers = {**headers, "x-fal-request-timeout-type": "user"}
            status = 504
    if isinstance(exc, InvalidInput):
        status = 422
        detail = [
            {"loc": ["body", *location(p.field)], "msg": p.message, "type": "value_error"}
            for p in exc.problems
        ]
    return ErrorResponse(status=status, body={"detail": detail}, headers=headers)


HTTP = HttpDialect(routers=(router,), render_error=render_error)


async def _output(prediction: Prediction, service: Service, image_links: ImageLinks) -> Response:
    """Render the output of a prediction that has succeeded."""
    show = output_renderer(prediction, service, image_links)
    shown = await run_in_threadpool(wire.output_body, prediction, show)
    return JSONResponse(shown, headers={_REQUEST_ID: prediction.id})
