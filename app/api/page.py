"""Serves the page at `/`: a playground of static files that talks to this server alone."""

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.api.compression import accepts_gzip
from app.api.conditions import is_unchanged
from app.api.state import state_of
from app.storage.errors import FileMissing

router = APIRouter(include_in_schema=False)
INDEX = "index.html"


@router.api_route("/", methods=["GET", "HEAD"])
def index(request: Request) -> Response:
    """Serve the page."""
    return asset(request, INDEX)


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
def asset(request: Request, name: str) -> Response:
    """Serve one of the page's files. Raises FileMissing."""
    page = state_of(request.app).page
    file = page.assets.get(name)
    if file is None:
        raise FileMissing(name)
    headers = {
        "Cache-Control": "no-cache",  # the browser asks each time, and usually gets a 304
        "ETag": file.etag,
        "Vary": "Accept-Encoding",
    }
    if name == INDEX:  # the policy of a document holds for all that it loads
        headers["Content-Security-Policy"] = page.policy
    if is_unchanged(request, file.etag):
        return Response(status_code=304, headers=headers)
    if accepts_gzip(request):
        headers["Content-Encoding"] = "gzip"
        return Response(file.zipped, headers=headers, media_type=file.media_type)
    return Response(file.data, headers=headers, media_type=file.media_type)
