"""The page at `/`: a playground of plain files that talks to this server alone."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.storage.errors import FileMissing

router = APIRouter(include_in_schema=False)
INDEX = "index.html"
_FOLDER = Path(__file__).parents[1] / "page"
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file of the page."""

    data: bytes
    zipped: bytes
    media_type: str
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The files, read once, and the policy that they are served under."""

    assets: dict[str, Asset]
    policy: str


def open_page(*image_bases: str | None) -> Page:
    """Read the page; pictures may come from the origins of `image_bases` too."""
    assets = {path.name: _read(path) for path in sorted(_FOLDER.iterdir()) if path.is_file()}
    return Page(assets=assets, policy=_policy([base for base in image_bases if base]))


@router.api_route("/", methods=["GET", "HEAD"])
def index(request: Request) -> Response:
    """Serve the page itself."""
    return asset(request, INDEX)


@router.api_route("/page/{name}", methods=["GET", "HEAD"])
def asset(request: Request, name: str) -> Response:
    """Serve one of its files. Raises FileMissing."""
    page: Page = request.app.state.page
    found = page.assets.get(name)
    if found is None:
        raise FileMissing(name)
    headers = {
        "Cache-Control": "no-cache",  # asked for anew each time, and answered 304
        "Content-Security-Policy": page.policy,
        "ETag": found.etag,
        "Referrer-Policy": "no-referrer",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if found.etag in request.headers.get("If-None-Match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(found.zipped, headers=headers, media_type=found.media_type)
    return Response(found.data, headers=headers, media_type=found.media_type)


def _read(path: Path) -> Asset:
    data = path.read_bytes()
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
    return Asset(
        data=data,
        zipped=gzip.compress(data, mtime=0),
        media_type=media_type or "application/octet-stream",
        etag=f'"{hashlib.sha256(data).hexdigest()[:16]}"',
    )


def _policy(image_bases: list[str]) -> str:
    origins = [f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, image_bases)]
    images = " ".join(["'self'", "data:", "blob:", *origins])
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        f"img-src {images}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
