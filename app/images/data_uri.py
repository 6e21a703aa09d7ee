"""Decodes `data:` URIs. `check` checks their content."""

import base64
import binascii
import re
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

from app.images.errors import ImageRejected
from app.images.media_type import HEAD_BYTES, media_type_of

LARGEST_BYTES = 20 * 1024 * 1024
_HEAD = re.compile(r"data:(?P<type>[^;,]*)(?P<parameters>(?:;[^;,]*)*),", re.IGNORECASE)
_LONGEST_HEAD = 256
_BLANKS_MAX = 32  # before the URI
_URL_SAFE = str.maketrans("-_", "+/", "\t\v\f")


def is_data_uri(text: str) -> bool:
    """Return whether the text begins like a data URI."""
    return text[:_BLANKS_MAX].lstrip()[:5].lower() == "data:"


def parse_data_uri(text: str, *, largest_bytes: int = LARGEST_BYTES) -> bytes:
    """Decode an image data URI, after a check of its length. Raises ImageRejected.

    The media type of an image is not decisive, because clients write image/jpg, octet-stream, text/plain or nothing.
    """
    text = text.strip()
    head = _HEAD.match(text, 0, _LONGEST_HEAD)
    if head is None:
        raise ImageRejected("not a data URI; write data:image/png;base64,…")
    encoded = text[head.end() :]
    is_base64 = head["parameters"].lower().split(";")[-1].strip() == "base64"
    max_chars = (largest_bytes + 2) // 3 * 4 + 4 if is_base64 else largest_bytes
    if len(encoded) > (3 * max_chars if "%" in encoded else max_chars):  # %2B is three characters
        raise _too_large(largest_bytes)
    try:
        data = _decode(encoded) if is_base64 else unquote_to_bytes(encoded)
    except (binascii.Error, ValueError) as exc:
        raise ImageRejected("the data URI's base64 is broken; it was probably cut off") from exc
    if not data:
        raise ImageRejected("the data URI is empty; write data:image/png;base64,…")
    if len(data) > largest_bytes:
        raise _too_large(largest_bytes)
    if media_type_of(data[:HEAD_BYTES]) is None:
        _refuse_other(head["type"].strip().lower(), is_base64=is_base64)
    return data


def content_path(uri: Path) -> Path:
    """Return where the content of the data URI in a file is once it has been unpacked."""
    return uri.with_suffix(".image")


def _refuse_other(media_type: str, *, is_base64: bool) -> None:
    """Refuse what is no image by its media type or its encoding. `check` names the rest."""
    if not is_base64:
        raise ImageRejected(
            "the data URI is neither base64 nor an image; write data:image/png;base64,…"
        )
    if media_type and not media_type.startswith("image/") and "octet-stream" not in media_type:
        raise ImageRejected(f"the data URI holds {media_type}; send a PNG, JPEG, WebP or AVIF")


def _too_large(largest_bytes: int) -> ImageRejected:
    megabytes = largest_bytes / (1024 * 1024)
    return ImageRejected(f"the image is larger than {megabytes:g} MB; send a smaller file")


def _decode(encoded: str) -> bytes:
    """Accept percent-encoding, line breaks, blanks, missing padding and the URL-safe alphabet. Clients send them all."""
    if "%" in encoded:
        encoded = unquote(encoded)
    joined = "".join(line.strip() for line in encoded.splitlines())
    compact = joined.translate(_URL_SAFE)
    if " " in compact:
        # A form decoder makes a blank of each plus. If a plus is left, blanks only separate groups.
        with_plus = compact.replace(" ", "+")
        is_form = "+" not in compact and len(with_plus.rstrip("=")) % 4 != 1
        is_exact = len(with_plus) % 4 == 0 or len(compact.replace(" ", "")) % 4 != 0
        compact = with_plus if is_form and is_exact else compact.replace(" ", "")
    compact = compact.rstrip("=")
    return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
