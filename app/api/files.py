"""Serves stored files at signed URLs, which need no API key."""

import mimetypes
from datetime import UTC, datetime
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from app.api.conditions import asks_for_range, is_unchanged
from app.api.direct_route import DirectRoute
from app.api.errors import UnsatisfiableRange
from app.api.proxy import proxy_response
from app.api.state import state_of
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
def read_file(request: Request) -> Response:
    """Serve a file or a range of it. Raises StorageError, UnsatisfiableRange, or FileMissing, also if the signature is invalid."""
    state, query = state_of(request.app), request.query_params
    key = str(request.path_params["key"])
    expires, signature = query.get("expires", ""), query.get("signature", "")
    if not state.links.allows(key, expires, signature, datetime.now(UTC)):
        raise FileMissing(key)
    place = state.service.locate_file(key, "HEAD" if request.method == "HEAD" else "GET")
    media_type = mimetypes.guess_type(key)[0] or "application/octet-stream"
    if not isinstance(place, Path):
        if state.proxy is None:
            return RedirectResponse(place, headers=_REDIRECT)
        return proxy_response(state.proxy, request, place, _HEADERS | {"Content-Type": media_type})
    stat = place.stat()
    response = _StoredFile(place, headers=_HEADERS, media_type=media_type, stat_result=stat)
    if is_unchanged(request, response.headers["ETag"]):
        headers = {name: response.headers[name] for name in ("ETag", "Cache-Control")}
        return Response(status_code=304, headers=headers)
    is_small = stat.st_size <= _StoredFile.chunk_size
    if is_small and request.method == "GET" and not asks_for_range(request):
        # in this thread: a FileResponse opens, reads and closes it in three others
        return Response(place.read_bytes(), headers=dict(response.headers))
    return response
