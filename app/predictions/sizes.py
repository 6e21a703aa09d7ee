"""Defines which sizes an image can have. Does no I/O, and needs no pydantic."""

import re

SIDE_MIN = 64  # px
SIDE_MULTIPLE = 16  # px
PIXELS_MAX = 4 * 1024 * 1024
ASPECT_MAX = 8
NAMED_SIZES = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}

_SIZE = re.compile(r"([1-9][0-9]{0,4})[xX*]([1-9][0-9]{0,4})")


def parse_size(text: str) -> tuple[int, int] | None:
    """Parse a size such as 1024x768, or None for any other text."""
    match = _SIZE.fullmatch(text.strip())
    return None if match is None else (int(match[1]), int(match[2]))


def nearest_size(width: int, height: int) -> tuple[int, int]:
    """Return a size near to this one that is within all limits."""
    factor = min(1.0, (PIXELS_MAX / max(1, width * height)) ** 0.5)
    round_ = _round if factor == 1.0 else _floor
    width, height = (max(SIDE_MIN, round_(side * factor)) for side in (width, height))
    longest = ASPECT_MAX * min(width, height)
    return min(width, longest), min(height, longest)


def _round(side: float) -> int:
    return int(side + SIDE_MULTIPLE / 2) // SIDE_MULTIPLE * SIDE_MULTIPLE


def _floor(side: float) -> int:
    return int(side) // SIDE_MULTIPLE * SIDE_MULTIPLE
