"""Serves files in OpenAI's form: images for edits."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from app.api.auth import KeyId
from app.api.forms import FIELD_MAX_BYTES, read_form
from app.dialects.dependencies import READ_SLOT, ImageLinksOf, ServiceOf, UploadsOf
from app.dialects.openai import wire
from app.dialects.openai.model_routes import OpenAiRoute
from app.images.media_type import HEAD_BYTES, media_type_of
from app.predictions.errors import FieldProblem, InvalidInput
from app.uploads import DEFAULT_RETENTION, LARGEST_BYTES, Upload, Uploads

PAGE = 100  # files in a list
PURPOSE_MAX_LENGTH = 64  # characters
router = APIRouter(include_in_schema=False, route_class=OpenAiRoute)  # documented by OpenAI


@router.post("/v1/files", response_model=None)
async def create_file(
    request: Request, key_id: KeyId, service: ServiceOf, uploads: UploadsOf
) -> Response:
    """Store an image for edits. The request counts against the key's limit of creates a minute."""
    await run_in_threadpool(service.count_create, key_id)
    async with read_form(request, LARGEST_BYTES + FIELD_MAX_BYTES) as form:
        content, purpose = form.get("file"), form.get("purpose")
        if not isinstance(content, UploadFile):
            raise InvalidInput(FieldProblem(field="file", message="send a file"))
        if not isinstance(purpose, str) or not purpose:
            raise InvalidInput(FieldProblem(field="purpose", message="send a purpose: vision"))
        seconds = form.get("expires_after[seconds]")
        retention = DEFAULT_RETENTION
        if isinstance(seconds, str) and seconds.isdecimal() and len(seconds) < 10:  # noqa: PLR2004
            retention = timedelta(seconds=int(seconds))
        upload = await run_in_threadpool(_store, key_id, content, purpose, retention, uploads)
    return JSONResponse(wire.file_body(upload))


@router.get("/v1/files", response_model=None, dependencies=[READ_SLOT])
def list_files(
    key_id: KeyId,
    uploads: UploadsOf,
    limit: Annotated[int, Query(ge=1, le=10_000)] = PAGE,
    after: Annotated[str, Query(max_length=100)] = "",
    purpose: Annotated[str, Query(max_length=PURPOSE_MAX_LENGTH)] = "",
) -> Response:
    """List the files of this key, newest first. The SDK asks for the files after the last one of a page."""
    offset = uploads.place_after(key_id, after) if after else 0
    limit = min(limit, PAGE)
    page = uploads.history(key_id, datetime.now(UTC), offset, limit)
    data = [
        wire.file_body(upload)
        for upload in page.uploads
        if not purpose or upload.metadata.get("purpose") == purpose
    ]
    ids = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
    has_more = page.total > offset + limit
    return JSONResponse({"object": "list", "data": data, "has_more": has_more, **ids})


@router.get("/v1/files/{file_id}", response_model=None)
def show_file(file_id: str, key_id: KeyId, uploads: UploadsOf) -> Response:
    """Show a file of this key."""
    return JSONResponse(wire.file_body(uploads.owned(key_id, file_id)))


@router.get("/v1/files/{file_id}/content", response_model=None)
def download_file(
    file_id: str, key_id: KeyId, uploads: UploadsOf, image_links: ImageLinksOf
) -> Response:
    """Redirect to the content of a file of this key."""
    upload = uploads.owned(key_id, file_id)
    return RedirectResponse(image_links.link(upload.key, upload.expires_at))


@router.delete("/v1/files/{file_id}", response_model=None)
def delete_file(file_id: str, key_id: KeyId, uploads: UploadsOf) -> Response:
    """Delete a file of this key."""
    uploads.owned(key_id, file_id)
    uploads.delete(key_id, file_id)
    return JSONResponse({"id": file_id, "object": "file", "deleted": True})


def _store(
    key_id: str, content: UploadFile, purpose: str, retention: timedelta, uploads: Uploads
) -> Upload:
    media_type = media_type_of(content.file.read(HEAD_BYTES))
    if media_type is None:
        message = "send a PNG, JPEG, WebP or AVIF; the models read nothing else"
        raise InvalidInput(FieldProblem(field="file", message=message))
    content.file.seek(0)
    metadata = {"purpose": purpose[:PURPOSE_MAX_LENGTH]}
    name = content.filename or ""
    upload = uploads.open(key_id, media_type, retention, name=name, metadata=metadata)
    return uploads.store(upload, content.file)
