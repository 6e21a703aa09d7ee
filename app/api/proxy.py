"""Passes stored files on from the URLs where they lie, for readers who cannot reach these."""

from collections.abc import Iterator

import httpx
from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from app.storage.errors import FileMissing, StorageError

_ASKED = ("If-None-Match", "Range")
_TOLD = ("Accept-Ranges", "Content-Length", "Content-Range", "ETag", "Last-Modified")
_PASSED_ON = {200, 206, 304, 416}


def open_proxy() -> httpx.Client:
    """Open the connections to the storage."""
    return httpx.Client(
        timeout=20,
        limits=httpx.Limits(max_connections=None),
        headers={"Accept-Encoding": "identity"},
        trust_env=False,
    )


def proxy_response(
    client: httpx.Client, request: Request, url: str, headers: dict[str, str]
) -> Response:
    """Give what lies at a URL, whole or the range asked for. Raises FileMissing or StorageError."""
    asked = {name: request.headers[name] for name in _ASKED if name in request.headers}
    if "," in asked.get("Range", ""):  # they would come as multipart
        del asked["Range"]
    key = request.path_params["key"]
    try:
        reply = client.send(client.build_request(request.method, url, headers=asked), stream=True)
    except httpx.HTTPError as exc:
        raise StorageError(f"could not read {key}: S3 cannot be reached") from exc
    if reply.status_code not in _PASSED_ON:
        reply.close()
        if reply.status_code == httpx.codes.NOT_FOUND:
            raise FileMissing(key)
        raise StorageError(f"could not read {key}: S3 answered {reply.status_code}")
    told = headers | {name: reply.headers[name] for name in _TOLD if name in reply.headers}
    if request.method == "HEAD" or reply.status_code not in {200, 206}:
        reply.close()
        if request.method != "HEAD":
            told.pop("Content-Length", None)  # of the words of S3
        return Response(status_code=reply.status_code, headers=told)
    return StreamingResponse(_parts(reply), reply.status_code, headers=told)


def _parts(reply: httpx.Response) -> Iterator[bytes]:
    try:
        yield from reply.iter_raw()
    finally:
        reply.close()
