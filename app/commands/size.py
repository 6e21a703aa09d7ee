"""Checks the `--size` of `klein predict` before the server does, and names the nearest size that fits."""

import re

from app.predictions.sizes import NAMED_SIZES, size_problem

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
    if problem := size_problem(width, height):
        raise ValueError(problem)
    return {"width": width, "height": height}
