"""Receives uploads at presigned URLs, which need no API key."""

import tempfile
from datetime import UTC, datetime
from typing import Annotated, BinaryIO, cast

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from app.api.connection import read_chunks, require_key
from app.api.errors import BadRequest
from app.api.state import state_of
from app.images.media_type import HEAD_BYTES, media_type_of
from app.storage.links import ROUTE
from app.uploads import FOLDER, LARGEST_BYTES, UnknownUpload, Upload

FILE_ID = "x-amz-meta-file-id"
_IN_MEMORY_BYTES = 1024 * 1024  # larger files are spooled to disk
router = APIRouter(tags=["files"])


@router.put(
    ROUTE + FOLDER + "/{upload_id}/{name}",
    include_in_schema=False,  # responses contain its URLs, already signed
    response_model=None,
)
async def write_file(
    request: Request,
    upload_id: str,
    name: str,
    expires: Annotated[str, Query()] = "",
    signature: Annotated[str, Query()] = "",
) -> Response:
    """Receive a file.

    Raises UnknownUpload, AlreadySent, BadRequest, BodyTooLarge, TooManyRequests, Unauthorized, StorageError or Unavailable.
    """
    state = state_of(request.app)
    key = f"{FOLDER}/{upload_id}/{name}"
    if not state.links.allows(key, expires, signature, datetime.now(UTC), verb="PUT"):
        raise UnknownUpload(upload_id)
    if request.headers.get(FILE_ID, upload_id) != upload_id:
        raise BadRequest(f"invalid {FILE_ID} header", f"{FILE_ID}: send {upload_id}")
    upload = await run_in_threadpool(state.uploads.get, upload_id)
    await require_key(request, upload.key_id)
    await run_in_threadpool(state.uploads.begin, upload, _announced_bytes(request))
    with (
        state.upload_slots.slot(upload.key_id, upload_id),
        tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file,
    ):
        await _receive(request, upload, cast("BinaryIO", file))
        file.seek(0)
        await run_in_threadpool(state.uploads.store, upload, cast("BinaryIO", file))
    return Response(status_code=200)


def _announced_bytes(request: Request) -> int:
    length = request.headers.get("Content-Length", "")
    return int(length[:20]) if length.isdecimal() else 0


async def _receive(request: Request, upload: Upload, file: BinaryIO) -> None:
    """Write the body to a file. A file of another type than announced is refused at its first bytes."""
    head = b""
    async for chunk in read_chunks(request, LARGEST_BYTES):
        if len(head) < HEAD_BYTES:
            head += chunk[:HEAD_BYTES]
            if len(head) >= HEAD_BYTES:
                _check_type(upload, head)
        await run_in_threadpool(file.write, chunk)
    _check_type(upload, head)


def _check_type(upload: Upload, head: bytes) -> None:
    media_type = media_type_of(head)
    if media_type != upload.media_type:
        found_type = f"is {media_type}" if media_type else "is not a PNG, JPEG, WebP or AVIF"
        details = f"content_type: {upload.media_type} was announced, but the file {found_type}"
        raise BadRequest("invalid content_type parameter", details)
