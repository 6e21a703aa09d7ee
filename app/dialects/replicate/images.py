"""Collects the input images of a request from the fields in which Replicate's clients send them. Does no I/O."""

import re
from typing import Any

# flux-2-klein has `images`; @ai-sdk/replicate sends `input_image` and `input_image_2` to `_8`, others `image` or `input_images`
_SINGLE = re.compile(r"(?:input_)?image(?:_(\d{1,2}))?")
_LISTS = ("images", "input_images", "image_urls")


def is_image_field(name: str) -> bool:
    """Return whether a field holds input images."""
    return name in _LISTS or _SINGLE.fullmatch(name) is not None


def collect_images(fields: dict[str, Any]) -> tuple[list[Any], list[str]]:
    """Return all images in order, and the name of each one's field. `images` itself is left to its validation if it is no list."""
    images: list[Any] = []
    names: list[str] = []
    for name in _LISTS:
        if isinstance(fields.get(name), list):
            images += fields[name]
            names += [f"{name}[{k}]" for k in range(len(fields[name]))]
    for name in sorted(filter(_SINGLE.fullmatch, fields), key=_place):
        images.append(fields[name])
        names.append(name)
    return images, names


def _place(name: str) -> tuple[int, str]:
    match = _SINGLE.fullmatch(name)
    return (int(match[1]) if match and match[1] else 1, name)
