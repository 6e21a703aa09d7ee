"""Serves stored files at signed URLs, which need no API key."""

import hashlib
import mimetypes
import os
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from app.api.conditions import asks_for_range, is_unchanged
from app.api.direct_route import DirectRoute
from app.api.errors import UnsatisfiableRange
from app.api.proxy import proxy_response
from app.api.state import ApiState, state_of
from app.storage.errors import FileMissing
from app.storage.links import ROUTE

router = APIRouter(tags=["files"], route_class=DirectRoute)
_REDIRECT = {"Cache-Control": "private, max-age=1800"}  # half as long as a presigned URL lives
_HEADERS = {
    "Cache-Control": "private, max-age=31536000, immutable",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
}


class _StoredFile(FileResponse):
    chunk_size = 256 * 1024  # each chunk is a call in another thread

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file or a part of it. A Range without meaning is ignored. Raises UnsatisfiableRange."""

        async def send_unless_refused(message: Message) -> None:
            if message.get("status") == UnsatisfiableRange.STATUS:
                raise UnsatisfiableRange(Headers(raw=message["headers"])["Content-Range"])
            await send(message)

        if not asks_for_range(Request(scope)):
            headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
            scope = {**scope, "headers": headers}
        await super().__call__(scope, receive, send_unless_refused)


@router.api_route(
    ROUTE + "{key:path}",
    methods=["GET", "HEAD"],
    include_in_schema=False,  # responses contain its URLs, already signed
    response_model=None,
)
async def read_file(request: Request) -> Response:
    """Serve a file or a range of it. Raises StorageError, UnsatisfiableRange, or FileMissing, also if the signature is invalid."""
    state, query = state_of(request.app), request.query_params
    key = request.path_params["key"]
    expires, signature = query.get("expires", ""), query.get("signature", "")
    if not state.links.allows(key, expires, signature, datetime.now(UTC)):
        raise FileMissing(key)
    return await state.file_threads.run(_respond, request, state, key)


def _respond(request: Request, state: ApiState, key: str) -> Response:
    place = state.service.locate_file(key, "HEAD" if request.method == "HEAD" else "GET")
    media_type = _media_type(key.rpartition("/")[2])
    if not isinstance(place, Path):
        if state.proxy is None:
            return RedirectResponse(place, headers=_REDIRECT)
        return proxy_response(state.proxy, request, place, _HEADERS | {"Content-Type": media_type})
    with place.open("rb") as file:
        stat = os.fstat(file.fileno())
        headers = _HEADERS | _file_headers(stat, media_type)
        if is_unchanged(request, headers["ETag"]):
            unchanged = {name: headers[name] for name in ("ETag", "Cache-Control")}
            return Response(status_code=304, headers=unchanged)
        is_small = stat.st_size <= _StoredFile.chunk_size
        if is_small and request.method == "GET" and not asks_for_range(request):
            # in this thread: a FileResponse opens, reads and closes it in three others
            return Response(file.read(), headers=headers)
    return _StoredFile(place, headers=headers, stat_result=stat)


def _file_headers(stat: os.stat_result, media_type: str) -> dict[str, str]:
    """Return the headers of a file as Starlette's FileResponse has them, which takes long to write them."""
    version = hashlib.md5(f"{stat.st_mtime}-{stat.st_size}".encode(), usedforsecurity=False)
    is_text = media_type.startswith("text/")
    return {
        "Content-Type": f"{media_type}; charset=utf-8" if is_text else media_type,
        "Accept-Ranges": "bytes",
        "Content-Length": str(stat.st_size),
        "Last-Modified": formatdate(stat.st_mtime, usegmt=True),
        "ETag": f'"{version.hexdigest()}"',
    }


@lru_cache
def _media_type(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"
