"""Serves the OpenAPI document, and the page at `/docs` that shows it. Its files are in this package: it loads nothing from elsewhere."""

import gzip
import json
import threading
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.storage.errors import FileMissing

router = APIRouter(include_in_schema=False)
_WRITING = threading.Lock()  # it takes half a second
_FOLDER = Path(__file__).parents[1] / "swagger"
_INDEX = "index.html"
_TYPES = {
    _INDEX: "text/html",
    "start.js": "text/javascript",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


@router.get("/openapi.json")
def openapi(request: Request) -> Response:
    """Return the OpenAPI document, which is written once."""
    app = request.app
    with _WRITING:
        if not hasattr(app.state, "openapi_text"):
            app.state.openapi_text = json.dumps(app.openapi(), separators=(",", ":")).encode()
    return Response(app.state.openapi_text, media_type="application/json")


@router.get("/docs")
def docs(request: Request) -> Response:
    """Serve the page."""
    response = asset(request, _INDEX)
    response.headers["Content-Security-Policy"] = _POLICY
    return response


@router.get("/docs/{name}")
def asset(request: Request, name: str) -> Response:
    """Serve a file of the page. Raises FileMissing."""
    if name not in _TYPES:
        raise FileMissing(name)
    headers = {"Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    zipped = _read_zipped(name)
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(zipped, headers=headers, media_type=_TYPES[name])
    return Response(gzip.decompress(zipped), headers=headers, media_type=_TYPES[name])


@cache
def _read_zipped(name: str) -> bytes:
    file = _FOLDER / f"{name}.gz"
    return file.read_bytes() if file.exists() else gzip.compress((_FOLDER / name).read_bytes())
