"""Decodes `data:` URIs; `check` checks their content."""

import base64
import binascii
import re

from app.images.errors import ImageRejected

LARGEST_BYTES = 20 * 1024 * 1024
_HEAD = re.compile(r"data:(?P<type>[^;,]*)(?P<parameters>(?:;[^;,]*)*),", re.IGNORECASE)
_LONGEST_HEAD = 256


def is_data_uri(text: str) -> bool:
    """Return whether the text begins like a data URI."""
    return text[:5].lower() == "data:"


def parse_data_uri(text: str, *, largest_bytes: int = LARGEST_BYTES) -> bytes:
    """Decode a base64 image data URI, after a check of its length. Raises ImageRejected.

    The media type is not decisive, because clients write image/jpg, octet-stream or nothing.
    """
    head = _HEAD.match(text, 0, _LONGEST_HEAD)
    if head is None:
        raise ImageRejected("not a data URI; write data:image/png;base64,…")
    media_type = head["type"].strip().lower()
    if (
        media_type
        and not media_type.startswith("image/")
        and not media_type.endswith("/octet-stream")
    ):
        raise ImageRejected(f"the data URI holds {media_type}; send a PNG, JPEG or WebP")
    if head["parameters"].lower().split(";")[-1].strip() != "base64":
        raise ImageRejected("the data URI is not base64; write data:image/png;base64,…")
    encoded_length = len(text) - head.end()
    if encoded_length > (largest_bytes + 2) // 3 * 4 + 4:
        megabytes = largest_bytes / (1024 * 1024)
        raise ImageRejected(f"the image is larger than {megabytes:g} MB; send a smaller file")
    try:
        data = _decode(text[head.end() :])
    except (binascii.Error, ValueError) as exc:
        raise ImageRejected("the data URI's base64 is broken; it was probably cut off") from exc
    if not data:
        raise ImageRejected("the data URI is empty; write data:image/png;base64,…")
    if len(data) > largest_bytes:
        megabytes = largest_bytes / (1024 * 1024)
        raise ImageRejected(f"the image is larger than {megabytes:g} MB; send a smaller file")
    return data


def _decode(encoded: str) -> bytes:
    """Accept line breaks, missing padding and the URL-safe alphabet; clients send all three."""
    compact = "".join(encoded.split()).replace("%3D", "=").replace("%3d", "=").rstrip("=")
    compact = compact.translate(str.maketrans("-_", "+/"))
    return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
