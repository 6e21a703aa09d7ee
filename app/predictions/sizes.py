"""Defines which sizes an image can have. Does no I/O, and needs no pydantic."""

import re

SIDE_MIN = 64  # px
SIDE_MULTIPLE = 16  # px
PIXELS_MAX = 4 * 1024 * 1024
ASPECT_MAX = 8
SIDE_MAX = PIXELS_MAX // SIDE_MIN  # px; a longer side has too many pixels with any other
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


def size_problem(width: int, height: int) -> str:
    """Say which side is wrong, and name the nearest size that fits. Empty if the size is within all limits."""
    sides = {"width": width, "height": height}
    problems = [_side_problem(name, px) for name, px in sides.items()] + [_limit_problem(sides)]
    if not any(problems):
        return ""
    nearest = "x".join(str(side) for side in nearest_size(width, height))
    return f"{' and '.join(filter(None, problems))}; the nearest size is {nearest}"


def nearest_size(width: int, height: int) -> tuple[int, int]:
    """Return a size near to this one that is within all limits."""
    width, height = (min(max(1, side), SIDE_MAX) for side in (width, height))
    factor = min(1.0, (PIXELS_MAX / (width * height)) ** 0.5)
    round_ = _round if factor == 1.0 else _floor
    width, height = (max(SIDE_MIN, round_(side * factor)) for side in (width, height))
    longest = ASPECT_MAX * min(width, height)
    return min(width, longest), min(height, longest)


def _side_problem(name: str, px: int) -> str:
    if px < SIDE_MIN:
        return f"the {name} {px} is less than {SIDE_MIN}"
    if px % SIDE_MULTIPLE:
        return f"the {name} {px} is not a multiple of {SIDE_MULTIPLE}"
    return ""


def _limit_problem(sides: dict[str, int]) -> str:
    shorter, longer = sorted(sides, key=lambda name: sides[name])
    if sides["width"] * sides["height"] > PIXELS_MAX:
        return f"{sides['width']}x{sides['height']} has more than {PIXELS_MAX} pixels"
    if sides[longer] > ASPECT_MAX * sides[shorter]:
        return f"the {longer} {sides[longer]} is more than {ASPECT_MAX} times the {shorter} {sides[shorter]}"
    return ""


def _round(side: float) -> int:
    return int(side + SIDE_MULTIPLE / 2) // SIDE_MULTIPLE * SIDE_MULTIPLE


def _floor(side: float) -> int:
    return int(side) // SIDE_MULTIPLE * SIDE_MULTIPLE
