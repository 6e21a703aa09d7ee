"""Counts what a decoder would walk through before it does: a small file may ask for hours of work."""

import re

from app.images.media_type import media_type_of

PARTS_MAX = 50_000  # chunks or segments; a PNG of 20 MB in chunks of 1 KB has 20,000
SCANS_MAX = 100  # of a JPEG, each a walk over all pixels; encoders write about ten
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])")  # neither filling, nor data, nor a restart
_END, _SCAN = 0xD9, 0xDA
_BARE = {0x01, 0xC8, 0xD8, _END, *range(0xF0, 0xFE)}
"""Markers that no length follows, or that decoders do not read one after."""


def is_too_costly(data: bytes) -> bool:
    """Say whether a file consists of more parts than any program writes."""
    match media_type_of(data):
        case "image/png":
            return _is_too_costly_png(data)
        case "image/jpeg":
            return _is_too_costly_jpeg(data)
    return False


def _is_too_costly_png(data: bytes) -> bool:
    at = 8
    for _ in range(PARTS_MAX):
        at += 12 + int.from_bytes(data[at : at + 4])
        if at >= len(data):
            return False
    return True


def _is_too_costly_jpeg(data: bytes) -> bool:
    at, parts, scans = 2, 0, 0
    while found := _MARKER.search(data, at):
        marker = found[1][0]
        if scans and marker == _END:
            return False
        # before the first scan Pillow reads what lies between segments byte by byte
        parts += 1 if scans else 1 + found.start() - at
        scans += marker == _SCAN
        if parts > PARTS_MAX or scans > SCANS_MAX:
            return True
        at = found.end()
        if marker not in _BARE:
            at += int.from_bytes(data[at : at + 2])
    return not scans and len(data) - at > PARTS_MAX
