"""Checks the `--size` of `klein predict` before the server does, and names the nearest size that fits."""

import re

from app.predictions.sizes import (
    ASPECT_MAX,
    NAMED_SIZES,
    PIXELS_MAX,
    SIDE_MIN,
    SIDE_MULTIPLE,
    nearest_size,
)

_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")


def parse_size(text: str) -> str | dict[str, int]:
    """Read WIDTHxHEIGHT or a named size. Raises ValueError that names the wrong side and the nearest size."""
    match = _SIZE.fullmatch(text)
    if match is None:
        if text in NAMED_SIZES:
            return text
        names = ", ".join(NAMED_SIZES)
        raise ValueError(f"{text} is neither WIDTHxHEIGHT, such as 1024x768, nor one of {names}")
    width, height = int(match[1]), int(match[2])
    sides = {"width": width, "height": height}
    problems = [problem for name, px in sides.items() if (problem := _problem_of(name, px))]
    if problem := _problem_of_both(sides):
        problems.append(problem)
    if problems:
        nearest = "x".join(str(side) for side in nearest_size(width, height))
        raise ValueError(f"{' and '.join(problems)}; the nearest size is {nearest}")
    return sides


def _problem_of(name: str, px: int) -> str:
    if px < SIDE_MIN:
        return f"the {name} {px} is less than {SIDE_MIN}"
    if px % SIDE_MULTIPLE:
        return f"the {name} {px} is not a multiple of {SIDE_MULTIPLE}"
    return ""


def _problem_of_both(sides: dict[str, int]) -> str:
    shorter, longer = sorted(sides, key=lambda name: sides[name])
    if sides["width"] * sides["height"] > PIXELS_MAX:
        return f"{sides['width']}x{sides['height']} has more than {PIXELS_MAX} pixels"
    if sides[longer] > ASPECT_MAX * sides[shorter]:
        return f"the {longer} {sides[longer]} is more than {ASPECT_MAX} times the {shorter} {sides[shorter]}"
    return ""
