"""Reads the headers that ask for a file only if it has changed, or for a part of it (RFC 9110, sections 13 and 14)."""

import re

from starlette.requests import HTTPConnection

_PART = r"\s*([0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})\s*"
_RANGE = re.compile(rf"bytes={_PART}(,{_PART})*", re.IGNORECASE)
_FIRST_AND_LAST = re.compile(r"([0-9]+)-([0-9]+)")


def is_unchanged(request: HTTPConnection, etag: str) -> bool:
    """Return whether If-None-Match names the ETag, also in a list, as a weak one, or as `*`."""
    tags = request.headers.get("If-None-Match", "").split(",")
    return any(tag.strip().removeprefix("W/") in {etag, "*"} for tag in tags)


def asks_for_range(request: HTTPConnection) -> bool:
    """Return whether the request is a GET with a Range of bytes. Any other Range has no meaning."""
    text = request.headers.get("Range", "")
    if request.scope["method"] != "GET" or not _RANGE.fullmatch(text):
        return False
    return all(int(first) <= int(last) for first, last in _FIRST_AND_LAST.findall(text))
