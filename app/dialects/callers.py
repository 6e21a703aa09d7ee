"""Tells from the headers of a request which vendor's client sent it. Does no I/O."""

import re
from collections.abc import Iterable, Mapping

_REPLICATE = re.compile(r"\b(async)?replicate\b", re.IGNORECASE)
_OPENAI = re.compile(r"\b(async)?openai\b", re.IGNORECASE)
_OPENAI_HEADERS = ("openai-", "x-stainless-")  # Replicate's newer clients also send the second


def find_vendor(headers: Mapping[str, str]) -> str | None:
    """Return the dialect of the client that sends these headers, or None if they do not tell."""
    agent = headers.get("user-agent", "")
    if _REPLICATE.search(agent):
        return "replicate"
    if _OPENAI.search(agent) or _names_openai(headers):
        return "openai"
    return None


def _names_openai(names: Iterable[str]) -> bool:
    return any(name.lower().startswith(_OPENAI_HEADERS) for name in names)
