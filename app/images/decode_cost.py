"""Estimates the cost of decoding a file, because a small file can take hours to decode."""

import re

from app.images.media_type import media_type_of

PARTS_MAX = 50_000  # chunks or segments; a PNG of 20 MB in chunks of 1 KB has 20,000
SCANS_MAX = 100  # of a JPEG; each is a pass over all pixels, and encoders write about ten
SCANNED_PIXELS_MAX = (
    1_000_000_000  # the product; Pillow writes 18 scans of a CMYK image, and up to 10 of others
)
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")  # neither padding, nor data, nor a restart
_END, _SCAN = 0xD9, 0xDA
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BARE = {0x01, 0xC8, 0xD8, _END, *range(0xF0, 0xFE)}
"""Markers without a length, or whose length decoders do not read."""


def is_too_costly(data: bytes, largest_pixels: int) -> bool:
    """Return whether a file has more parts than any encoder writes.

    The caller refuses an image of more than `largest_pixels` by its header, so more pixels are never decoded.
    """
    match media_type_of(data):
        case "image/png":
            return _is_too_costly_png(data)
        case "image/jpeg":
            return _is_too_costly_jpeg(data, largest_pixels)
    return False


def _is_too_costly_png(data: bytes) -> bool:
    at = 8
    for _ in range(PARTS_MAX):
        at += 12 + int.from_bytes(data[at : at + 4])
        if at >= len(data):
            return False
    return True


def _is_too_costly_jpeg(data: bytes, largest_pixels: int) -> bool:
    at, parts, scans, pixels = 2, 0, 0, 0
    while match := _MARKER.search(data, at):
        marker = match[1][0]
        if scans and marker == _END:
            return False
        # before the first scan Pillow reads the bytes between segments one by one
        parts += 1 if scans else 1 + match.start() - at
        scans += marker == _SCAN
        at = match.end()
        if marker in _FRAMES:  # length and precision come before height and width
            height, width = (int.from_bytes(data[at + k : at + k + 2]) for k in (3, 5))
            pixels = max(pixels, min(height * width, largest_pixels))
        if parts > PARTS_MAX or scans > SCANS_MAX or scans * pixels > SCANNED_PIXELS_MAX:
            return True
        if marker not in _BARE:
            at += int.from_bytes(data[at : at + 2])
    return not scans and len(data) - at > PARTS_MAX
