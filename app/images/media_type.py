"""Detects the media type of input images from their first bytes, and names formats that are not read."""

from codecs import BOM_UTF8

HEAD_BYTES = 64  # enough to detect each type
TEXT_BYTES = 1024  # enough to tell SVG from other XML
SUFFIXES = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/avif": "avif"}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_CONVERT = "convert it to JPEG"
_FRAME = "send one frame as PNG"
_ITSELF = "send the URL of the image itself"
_Format = tuple[tuple[bytes, ...], str, str]
"""How the files of a format begin, its name, and what to do about it."""
_OTHER_FORMATS: tuple[_Format, ...] = (
    ((b"\xff\x0a", b"\0\0\0\x0cJXL "), "JPEG XL", _CONVERT),
    ((b"GIF8",), "GIF", "convert it to PNG"),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFF or a camera's raw format", _CONVERT),
    ((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"), "JPEG 2000", _CONVERT),
    ((b"BM",), "BMP", "convert it to PNG"),
    ((b"\0\0\1\0", b"icns"), "an icon (ICO or ICNS)", "convert it to PNG"),
    ((b"qoif",), "QOI", "convert it to PNG"),
    ((b"v/1\x01", b"#?RADIANCE"), "an HDR image", "export it as PNG"),
    ((b"8BPS",), "a Photoshop document", "export it as PNG"),
    ((b"%PDF",), "a PDF", "export a page as PNG"),
    ((b"%!PS", b"\xc5\xd0\xd3\xc6"), "PostScript", "export it as PNG"),
    ((b"\x1aE\xdf\xa3",), "a video", _FRAME),
    ((b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!"), "an archive", "send the image in it"),
)
_TEXTS: tuple[_Format, ...] = (
    ((b"<svg",), "SVG", "export it as PNG"),
    ((b"<!doctype html", b"<html", b"<head", b"<body"), "a web page", _ITSELF),
    ((b"<?xml", b"<!--", b"<error"), "XML and no image", _ITSELF),
    ((b"{", b"["), "JSON and no image", _ITSELF),
    ((b"data:",), "the text of a data URI", "send the data URI as text, not as a file"),
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
    """Return the name of a format that is not read, and what to do about it. Returns None for unknown files.

    `head` is the beginning of the file, up to TEXT_BYTES.
    """
    brands = _brands(head)
    if brands & _HEIF_BRANDS:
        return "HEIC", "convert it to JPEG, or set the phone's camera to its most compatible format"
    if brands or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return "a video", _FRAME
    for beginnings, name, advice in _OTHER_FORMATS:
        if head.startswith(beginnings):
            return name, advice
    text = head.removeprefix(BOM_UTF8).lstrip().lower()
    if text.startswith(b"<") and b"<svg" in text:  # after a declaration and comments
        return _TEXTS[0][1:]
    for beginnings, name, advice in _TEXTS:
        if text.startswith(beginnings):
            return name, advice
    return None


def _brands(head: bytes) -> set[bytes]:
    """Return the brands of a file in the ISO base media format (ISO 14496-12, 4.3)."""
    if head[4:8] != b"ftyp":
        return set()
    size = min(int.from_bytes(head[:4]), HEAD_BYTES, len(head))
    return {head[8:12], *(head[at : at + 4] for at in range(16, size - 3, 4))}
