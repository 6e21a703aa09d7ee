"""Reads the files of the page at `/`, and builds the policy that they are served under."""

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

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
    """All files, read once at start-up, and their Content-Security-Policy."""

    assets: dict[str, Asset]
    policy: str


def open_page(*image_bases: str | None) -> Page:
    """Read the files of the page. The policy allows images from the origins of `image_bases`."""
    assets = {path.name: _read(path) for path in sorted(_FOLDER.iterdir()) if path.is_file()}
    return Page(assets=assets, policy=_policy([base for base in image_bases if base]))


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
