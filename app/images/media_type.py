"""What the first bytes of a file say it is; only the kinds that input images may have."""

HEAD_BYTES = 12  # that many tell
SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


def media_type_of(head: bytes) -> str | None:
    """Tell the media type of a PNG, JPEG or WebP by its first bytes; None for anything else."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None
