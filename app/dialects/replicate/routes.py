"""Serves the routes that Replicate's clients use, and renders errors in Replicate's form."""

import base64
import re
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from app.api.auth import KeyId
from app.api.errors import ErrorResponse, Unauthorized
from app.api.forms import FIELD_MAX_BYTES, read_form
from app.api.state import state_of
from app.dialects.dependencies import (
    ImageLinksOf,
    JsonBody,
    ServiceOf,
    UploadsOf,
    output_renderer,
    wait_for_end,
)
from app.dialects.errors import describe_error
from app.dialects.http import HttpDialect
from app.dialects.image_links import ImageLinks
from app.dialects.replicate import wire
from app.dialects.replicate.input import read_input, rename_fields
from app.images.media_type import HEAD_BYTES, media_type_of
from app.predictions.clock import from_ms, to_ms
from app.predictions.errors import AlreadyFinal, FieldProblem, InvalidInput
from app.predictions.prediction import Prediction
from app.predictions.service import Service
from app.uploads import LARGEST_BYTES, Upload, Uploads
from app.webhooks.sign import PREFIX

WAIT_MAX_S = 60
EPOCH = datetime.fromtimestamp(0, UTC)
_WAIT = re.compile(r"(?:^|[,;\s])wait(?:\s*=\s*\"?(\d{1,6}))?(?=$|[\",;\s])", re.IGNORECASE)
_CURSOR = re.compile(r"(\d{1,15})-(\d{1,9})")
router = APIRouter(include_in_schema=False)  # documented by Replicate


async def _body(body: JsonBody) -> wire.CreateBody:
    return wire.parse_create(body)


CreateBody = Annotated[wire.CreateBody, Depends(_body)]


@router.post("/v1/predictions", response_model=None)
async def create(
    request: Request, key_id: KeyId, body: CreateBody, service: ServiceOf, image_links: ImageLinksOf
) -> Response:
    """Create a prediction of a version."""
    return await _create(request, key_id, wire.model_of(body.version), body, service, image_links)


@router.post(
    "/v1/models/{owner}/{name}/predictions",
    response_model=None,
)
async def create_of_model(  # noqa: PLR0913 -- FastAPI passes each part by name
    request: Request,
    owner: str,
    name: str,
    key_id: KeyId,
    body: CreateBody,
    service: ServiceOf,
    image_links: ImageLinksOf,
) -> Response:
    """Create a prediction of an official model."""
    wire.check_model(owner, name)
    return await _create(request, key_id, name, body, service, image_links)


@router.get("/v1/predictions", response_model=None)
def predictions(
    key_id: KeyId,
    service: ServiceOf,
    image_links: ImageLinksOf,
    cursor: Annotated[str, Query()] = "",
) -> Response:
    """List this key's predictions, newest first."""
    until, offset = _position(cursor)
    page = service.history(key_id, since=EPOCH, until=until, offset=offset, limit=wire.PAGE)
    results = [
        # URLs in sync mode too: a page must not contain a hundred images
        wire.prediction_body(p, image_links, lambda output, p=p: image_links.url(p, output))  # type: ignore[misc]  # mypy cannot infer this lambda
        for p in page.predictions
    ]
    page_urls = _page_urls(f"{image_links.base}/v1/predictions", until, offset, page.total)
    return JSONResponse(page_urls | {"results": results})


@router.get("/v1/predictions/{prediction_id}", response_model=None)
async def get(
    prediction_id: str, key_id: KeyId, service: ServiceOf, image_links: ImageLinksOf
) -> Response:
    """Show a prediction."""
    prediction = await service.get(key_id, prediction_id)
    return await run_in_threadpool(_shown, prediction, service, image_links)


@router.post("/v1/predictions/{prediction_id}/cancel", response_model=None)
async def cancel(
    prediction_id: str, key_id: KeyId, service: ServiceOf, image_links: ImageLinksOf
) -> Response:
    """Cancel a prediction; a final one is shown unchanged."""
    try:
        prediction = await run_in_threadpool(service.cancel, key_id, prediction_id)
    except AlreadyFinal:
        prediction = await service.get(key_id, prediction_id)
    return await run_in_threadpool(_shown, prediction, service, image_links)


@router.get("/v1/models/{owner}/{name}", response_model=None)
def model(owner: str, name: str, image_links: ImageLinksOf) -> Response:
    """Show a model."""
    wire.check_model(owner, name)
    return JSONResponse(wire.model_body(name, image_links.base, EPOCH))


@router.get("/v1/models/{owner}/{name}/versions", response_model=None)
def versions(owner: str, name: str) -> Response:
    """List the versions of a model; there is one."""
    wire.check_model(owner, name)
    only = wire.version_body(name, EPOCH)
    return JSONResponse({"previous": None, "next": None, "results": [only]})


@router.get("/v1/models/{owner}/{name}/versions/{version}", response_model=None)
def version(owner: str, name: str, version: str) -> Response:
    """Show the version of a model."""
    wire.check_model(owner, name)
    wire.model_of(f"{owner}/{name}:{version}")
    return JSONResponse(wire.version_body(name, EPOCH))


@router.post("/v1/files", response_model=None)
async def create_file(
    request: Request,
    key_id: KeyId,
    service: ServiceOf,
    uploads: UploadsOf,
    image_links: ImageLinksOf,
) -> Response:
    """Store a file for use as an input. The request counts against the key's limit of creates a minute."""
    await run_in_threadpool(service.count_create, key_id)
    async with read_form(request, LARGEST_BYTES + FIELD_MAX_BYTES) as form:
        content, metadata = form.get("content"), form.get("metadata")
        if not isinstance(content, UploadFile):
            raise InvalidInput(FieldProblem(field="content", message="send a file"))
        if isinstance(metadata, UploadFile):
            raise InvalidInput(FieldProblem(field="metadata", message="send a JSON object"))
        custom_metadata = wire.metadata_of(metadata)
        upload = await run_in_threadpool(_store, key_id, content, custom_metadata, uploads)
    return JSONResponse(wire.file_body(upload, image_links.link), 201)


@router.get("/v1/files", response_model=None)
def list_files(
    key_id: KeyId,
    uploads: UploadsOf,
    image_links: ImageLinksOf,
    cursor: Annotated[str, Query()] = "",
) -> Response:
    """List the files of this key, newest first."""
    until, offset = _position(cursor)
    page = uploads.history(key_id, until, offset, wire.PAGE)
    results = [wire.file_body(upload, image_links.link) for upload in page.uploads]
    page_urls = _page_urls(f"{image_links.base}/v1/files", until, offset, page.total)
    return JSONResponse(page_urls | {"results": results})


@router.get("/v1/files/{file_id}", response_model=None)
def show_file(
    file_id: str, key_id: KeyId, uploads: UploadsOf, image_links: ImageLinksOf
) -> Response:
    """Show a file of this key; the hosted API's routes have the DELETE."""
    return JSONResponse(wire.file_body(uploads.owned(key_id, file_id), image_links.link))


@router.get("/v1/webhooks/default/secret", response_model=None)
def webhook_secret(request: Request, key_id: KeyId) -> Response:
    """Return the secret that signs the webhooks of this key."""
    return JSONResponse({"key": _secret(request, key_id)})


def render_error(exc: Exception) -> ErrorResponse:
    """Render an error in Replicate's form; only invalid input has another status than elsewhere."""
    description = describe_error(exc)
    status = 422 if isinstance(exc, InvalidInput) else description.status
    body: dict[str, Any] = {
        "title": "Input validation failed" if status == 422 else description.error,  # noqa: PLR2004
        "detail": description.details or description.error,
        "status": status,
    }
    if isinstance(exc, Unauthorized):
        body["title"] = "Unauthenticated"
        body["detail"] = "You did not pass a valid authentication token: send Authorization: Bearer"
    if isinstance(exc, InvalidInput):
        body["detail"] = "".join(f"- {p.field}: {p.message}\n" for p in exc.problems)
        body["invalid_fields"] = [
            {"field": p.field, "description": p.message} for p in exc.problems
        ]
    return ErrorResponse(status=status, body=body, headers=description.headers)


HTTP = HttpDialect(routers=(router,), render_error=render_error)


async def _create(  # noqa: PLR0913 -- what FastAPI gave to the route
    request: Request,
    key_id: str,
    name: str,
    body: wire.CreateBody,
    service: Service,
    image_links: ImageLinks,
) -> Response:
    timeout = preferred_wait(request)
    slug, model_input = read_input(name, body.input)
    if timeout and not image_links.base.startswith("https:"):
        # Replicate's clients read files only from https: and data: URLs, and a laptop has no certificate
        model_input["sync_mode"] = True
    webhook = wire.read_webhook(body, image_links.base, _secret(request, key_id))
    with service.wait_slot(key_id) if timeout else nullcontext():
        try:
            created = await run_in_threadpool(service.submit, key_id, slug, model_input, webhook)
        except InvalidInput as exc:
            raise rename_fields(exc) from None
        if not timeout:
            return JSONResponse(wire.prediction_body(created, image_links, lambda _: ""), 201)
        ended = await wait_for_end(request, service, created, timeout)
    shown = await run_in_threadpool(
        wire.prediction_body, ended, image_links, output_renderer(ended, service, image_links)
    )
    if not ended.status.is_final:
        shown["status"] = "starting"  # the Python client takes any other status for final
    return JSONResponse(shown, 201)


def _shown(prediction: Prediction, service: Service, image_links: ImageLinks) -> JSONResponse:
    show = output_renderer(prediction, service, image_links)
    return JSONResponse(wire.prediction_body(prediction, image_links, show))


def _store(key_id: str, content: UploadFile, metadata: dict[str, Any], uploads: Uploads) -> Upload:
    media_type = media_type_of(content.file.read(HEAD_BYTES))
    if media_type is None:
        message = "send a PNG, JPEG or WebP; the models read nothing else"
        raise InvalidInput(FieldProblem(field="content", message=message))
    content.file.seek(0)
    name = content.filename or ""
    upload = uploads.open(key_id, media_type, wire.FILES_KEPT, name=name, metadata=metadata)
    return uploads.store(upload, content.file)


def _secret(request: Request, key_id: str) -> str:
    """Return the webhook secret of a key, in the form of Standard Webhooks."""
    links = state_of(request.app).links
    return PREFIX + base64.b64encode(links.secret_for(f"webhooks of {key_id}")).decode()


def _page_urls(path: str, until: datetime, offset: int, total: int) -> dict[str, str | None]:
    """Return the URLs of the previous and the next page."""

    def at(place: int) -> str:
        return f"{path}?cursor={to_ms(until)}-{max(place, 0)}"

    return {
        "previous": at(offset - wire.PAGE) if offset else None,
        "next": at(offset + wire.PAGE) if total > offset + wire.PAGE else None,
    }


def preferred_wait(request: Request) -> int:
    """Read `Prefer: wait` and `wait=SECONDS`."""
    match = _WAIT.search(request.headers.get("Prefer", ""))
    return min(int(match[1] or WAIT_MAX_S), WAIT_MAX_S) if match else 0


def _position(cursor: str) -> tuple[datetime, int]:
    """Parse a cursor: the time of the first page, and the offset from it. Raises InvalidInput."""
    if not cursor:
        return datetime.now(UTC), 0
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise InvalidInput(
            FieldProblem(field="cursor", message="send `next` or `previous` of a page")
        )
    return from_ms(int(match[1])), int(match[2])
