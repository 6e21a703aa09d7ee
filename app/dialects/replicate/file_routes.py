"""Serves files in Replicate's form."""

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from app.api.auth import KeyId
from app.api.forms import FIELD_MAX_BYTES, read_form
from app.dialects.dependencies import READ_SLOT, ImageLinksOf, ServiceOf, UploadsOf
from app.dialects.http import VendorRoute
from app.dialects.replicate import wire
from app.dialects.replicate.pages import page_urls, parse_cursor
from app.images.media_type import HEAD_BYTES, media_type_of
from app.predictions.errors import FieldProblem, InvalidInput
from app.uploads import LARGEST_BYTES, Upload, Uploads


class ReplicateRoute(VendorRoute):
    """At a path of the hosted API, matches only Replicate's clients."""

    dialect = "replicate"


router = APIRouter(include_in_schema=False)  # documented by Replicate
shared = APIRouter(include_in_schema=False, route_class=ReplicateRoute)


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
        content = form.get("content")
        if not isinstance(content, UploadFile):
            raise InvalidInput(FieldProblem(field="content", message="send a file"))
        metadata = wire.metadata_of(await _text(form.get("metadata")))
        upload = await run_in_threadpool(_store, key_id, content, metadata, uploads)
    return JSONResponse(wire.file_body(upload, image_links.link), 201)


@router.get("/v1/files", response_model=None, dependencies=[READ_SLOT])
def list_files(
    key_id: KeyId,
    uploads: UploadsOf,
    image_links: ImageLinksOf,
    cursor: Annotated[str, Query()] = "",
) -> Response:
    """List the files of this key, newest first."""
    until, offset = parse_cursor(cursor)
    page = uploads.history(key_id, until, offset, wire.PAGE)
    results = [wire.file_body(upload, image_links.link) for upload in page.uploads]
    urls = page_urls(f"{image_links.api}/v1/files", until, offset, page.total)
    return JSONResponse(urls | {"results": results})


@router.get("/v1/files/{file_id}", response_model=None)
def show_file(
    file_id: str, key_id: KeyId, uploads: UploadsOf, image_links: ImageLinksOf
) -> Response:
    """Show a file of this key."""
    return JSONResponse(wire.file_body(uploads.owned(key_id, file_id), image_links.link))


@router.get("/v1/files/{file_id}/download", response_model=None)
def download_file(
    file_id: str, key_id: KeyId, uploads: UploadsOf, image_links: ImageLinksOf
) -> Response:
    """Redirect to the content of a file of this key."""
    upload = uploads.owned(key_id, file_id)
    name = quote(upload.name or upload.id)
    return RedirectResponse(
        image_links.link(upload.key, upload.expires_at),
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"},
    )


@shared.delete("/v1/files/{file_id}", status_code=204, response_model=None)
def delete_file(file_id: str, key_id: KeyId, uploads: UploadsOf) -> Response:
    """Delete a file of this key. The status is 204 even if it is already gone."""
    uploads.delete(key_id, file_id)
    return Response(status_code=204)


async def _text(part: UploadFile | str | None) -> str | None:
    """Return the text of a part. The npm package `replicate` sends the metadata as a file."""
    if not isinstance(part, UploadFile):
        return part
    content = await part.read(FIELD_MAX_BYTES + 1)
    if len(content) > FIELD_MAX_BYTES:
        message = f"send at most {FIELD_MAX_BYTES // 1024} KiB"
        raise InvalidInput(FieldProblem(field="metadata", message=message))
    return content.decode(errors="replace")


def _store(key_id: str, content: UploadFile, metadata: dict[str, Any], uploads: Uploads) -> Upload:
    media_type = media_type_of(content.file.read(HEAD_BYTES))
    if media_type is None:
        message = "send a PNG, JPEG, WebP or AVIF; the models read nothing else"
        raise InvalidInput(FieldProblem(field="content", message=message))
    content.file.seek(0)
    name = content.filename or ""
    upload = uploads.open(key_id, media_type, wire.FILES_KEPT, name=name, metadata=metadata)
    return uploads.store(upload, content.file)
