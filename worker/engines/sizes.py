"""Pure arithmetic of picture sizes: of references, of edits, and of what a small model renders."""

import math

MULTIPLE = 16
SMALLEST_SIDE = 64
REFERENCE_AREA = 1024 * 1024
"""Larger references are scaled down to it, as BFL's code and diffusers do."""


def cap_reference(width: int, height: int) -> tuple[int, int]:
    """Scale a reference down to one megapixel; the rounding is diffusers' own."""
    if width * height <= REFERENCE_AREA:
        return width, height
    scale = math.sqrt(REFERENCE_AREA / (width * height))
    return int(width * scale), int(height * scale)


def floor_size(width: int, height: int, multiple: int = MULTIPLE) -> tuple[int, int]:
    """Floor both sides to the multiple, but not below 64."""
    return (
        max(SMALLEST_SIDE, width // multiple * multiple),
        max(SMALLEST_SIDE, height // multiple * multiple),
    )


def edit_size(width: int, height: int) -> tuple[int, int]:
    """Tell the size of an edit's output from its first reference's size.

    The output grid equals the reference grid: positions in the model are absolute, and edits whose
    grids differ come out shifted (InvokeAI issue 9507).
    """
    return floor_size(*cap_reference(width, height))


def native_size(width: int, height: int, *, native: int, multiple: int) -> tuple[int, int]:
    """Keep the aspect at about native² pixels, sides multiples of `multiple` and at least 64."""
    scale = native / math.sqrt(width * height)
    least = math.ceil(SMALLEST_SIDE / multiple)
    return (
        max(least, round(width * scale / multiple)) * multiple,
        max(least, round(height * scale / multiple)) * multiple,
    )
