"""Detects the media type of input images from their first bytes, and names formats that are not read."""

HEAD_BYTES = 64  # enough to detect each type
SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/avif": "avif"}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_CONVERT = "convert it to JPEG"
_OTHER_FORMATS = (
    ((b"\xff\x0a", b"\0\0\0\x0cJXL "), "JPEG XL", _CONVERT),
    ((b"GIF8",), "GIF", "convert it to PNG"),
    ((b"II*\0", b"MM\0*"), "TIFF or a camera's raw format", _CONVERT),
    ((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), "JPEG 2000", _CONVERT),
    ((b"BM",), "BMP", "convert it to PNG"),
    ((b"8BPS",), "a Photoshop document", "export it as PNG"),
    ((b"%PDF",), "a PDF", "export a page as PNG"),
    ((b"<svg", b"<?xml"), "SVG", "export it as PNG"),
    ((b"<!doctype", b"<html", b"<!DOCTYPE"), "a web page", "send the URL of the image itself"),
)


def media_type_of(head: bytes) -> str | None:
    """Return the media type of a PNG, JPEG, WebP or AVIF from its first bytes, or None for other files."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if _brands(head) & _AVIF_BRANDS:
        return "image/avif"
    return None


def name_foreign_format(head: bytes) -> tuple[str, str] | None:
    """Return the name of a format that is not read, and what to do about it. Returns None for unknown files."""
    if _brands(head) & _HEIF_BRANDS:
        return "HEIC", "convert it to JPEG, or set the phone's camera to its most compatible format"
    start = head.lstrip()
    for beginnings, name, advice in _OTHER_FORMATS:
        if head.startswith(beginnings) or start.startswith(beginnings):
            return name, advice
    return None


def _brands(head: bytes) -> set[bytes]:
    """Return the brands of a file in the ISO base media format (ISO 14496-12, 4.3)."""
    if head[4:8] != b"ftyp":
        return set()
    size = min(int.from_bytes(head[:4]), HEAD_BYTES, len(head))
    return {head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4))}
