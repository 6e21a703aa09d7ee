"""Proxies stored files for clients that cannot reach the storage."""

from collections.abc import Iterator

import httpx
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from app.api.conditions import asks_for_range
from app.api.errors import UnsatisfiableRange
from app.storage.errors import FileMissing, StorageError

_REQUEST_HEADERS = ("If-None-Match", "Range")
_RESPONSE_HEADERS = ("Accept-Ranges", "Content-Length", "Content-Range", "ETag", "Last-Modified")
_PROXIED_STATUSES = {200, 206, 304}


def open_proxy() -> httpx.Client:
    """Open a client with connections to the storage."""
    return httpx.Client(
        timeout=20,
        limits=httpx.Limits(max_connections=None),
        headers={"Accept-Encoding": "identity"},
        trust_env=False,
    )


def proxy_response(
    client: httpx.Client, request: Request, url: str, headers: dict[str, str]
) -> Response:
    """Return the file at a URL, or the requested range of it. Raises FileMissing, UnsatisfiableRange or StorageError."""
    request_headers = {
        name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers
    }
    # several ranges would come as multipart
    if not asks_for_range(request) or "," in request_headers["Range"]:
        request_headers.pop("Range", None)
    key = request.path_params["key"]
    try:
        reply = client.send(
            client.build_request(request.method, url, headers=request_headers), stream=True
        )
    except httpx.HTTPError as exc:
        raise StorageError(f"could not read {key}: S3 cannot be reached") from exc
    if reply.status_code not in _PROXIED_STATUSES:
        reply.close()
        if reply.status_code == UnsatisfiableRange.STATUS:
            raise UnsatisfiableRange(reply.headers.get("Content-Range", ""))
        if reply.status_code == httpx.codes.NOT_FOUND:
            raise FileMissing(key)
        raise StorageError(f"could not read {key}: S3 answered {reply.status_code}")
    response_headers = headers | {
        name: reply.headers[name] for name in _RESPONSE_HEADERS if name in reply.headers
    }
    if request.method == "HEAD" or reply.status_code not in {200, 206}:
        reply.close()
        if request.method != "HEAD":
            response_headers.pop("Content-Length", None)  # a 304 has no body
        return Response(status_code=reply.status_code, headers=response_headers)
    return StreamingResponse(_parts(reply), reply.status_code, headers=response_headers)


def _parts(reply: httpx.Response) -> Iterator[bytes]:
    try:
        yield from reply.iter_raw()
    finally:
        reply.close()
