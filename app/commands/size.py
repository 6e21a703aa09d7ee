"""Checks the `--size` of `klein predict` before the server does, and names the nearest size that fits."""

import re

from app.predictions.inputs import NAMED_SIZES, SIDE_MIN, SIDE_MULTIPLE

_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")


def parse_size(text: str) -> str | dict[str, int]:
    """Read WIDTHxHEIGHT or a named size. Raises ValueError that names the wrong side and the nearest size."""
    match = _SIZE.fullmatch(text)
    if match is None:
        if text in NAMED_SIZES:
            return text
        names = ", ".join(NAMED_SIZES)
        raise ValueError(f"{text} is neither WIDTHxHEIGHT, such as 1024x768, nor one of {names}")
    sides = {"width": int(match[1]), "height": int(match[2])}
    problems = [problem for name, px in sides.items() if (problem := _problem_of(name, px))]
    if problems:
        nearest = "x".join(str(_nearest_side(px)) for px in sides.values())
        raise ValueError(f"{' and '.join(problems)}; the nearest size is {nearest}")
    return sides


def _problem_of(name: str, px: int) -> str:
    if px < SIDE_MIN:
        return f"the {name} {px} is less than {SIDE_MIN}"
    if px % SIDE_MULTIPLE:
        return f"the {name} {px} is not a multiple of {SIDE_MULTIPLE}"
    return ""


def _nearest_side(px: int) -> int:
    return max(SIDE_MIN, (px + SIDE_MULTIPLE // 2) // SIDE_MULTIPLE * SIDE_MULTIPLE)
