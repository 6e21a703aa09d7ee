"""Detects the media type of input images from their first bytes."""

HEAD_BYTES = 12  # enough to detect each type
SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


def media_type_of(head: bytes) -> str | None:
    """Return the media type of a PNG, JPEG or WebP from its first bytes; None for other files."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None
