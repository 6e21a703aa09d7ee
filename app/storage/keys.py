"""Validates storage keys: relative paths of plain names, so that no other path can be reached."""

import re

from app.storage.errors import FileMissing

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def names_of(key: str) -> list[str]:
    """Split a key into its names. Raises FileMissing if the key is invalid."""
    names = key.split("/")
    if not all(_NAME.fullmatch(name) for name in names):
        raise FileMissing(key)
    return names
