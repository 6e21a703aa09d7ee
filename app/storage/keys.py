"""What may name a stored file: a relative path of plain names, so that nothing else can be reached."""

import re

from app.storage.errors import FileMissing

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def names_of(key: str) -> list[str]:
    """Split a key into its names. Raises FileMissing for what can name no file."""
    names = key.split("/")
    if not all(_NAME.fullmatch(name) for name in names):
        raise FileMissing(key)
    return names
