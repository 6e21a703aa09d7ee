"""Finds the API keys that a request presents, in any of the headers in which the clients of the dialects send one."""

import base64
import binascii
from collections.abc import Iterator

from fastapi.security.utils import get_authorization_scheme_param
from starlette.requests import HTTPConnection

_HEADERS = ("X-API-Key", "X-Key", "Api-Key")  # the hosted API, Black Forest Labs, Azure
_SCHEMES = frozenset({"bearer", "token", "key"})  # Token: older clients of Replicate. Key: fal


def presented_keys(request: HTTPConnection) -> Iterator[str]:
    """Yield every key that a request presents."""
    for header in _HEADERS:
        if header in request.headers:
            yield request.headers[header]
    scheme, value = get_authorization_scheme_param(request.headers.get("Authorization"))
    if scheme.lower() in _SCHEMES:
        yield value
    elif scheme.lower() == "basic":
        yield _password(value)


def _password(encoded: str) -> str:
    """Return the password of Basic authentication, for front ends that have fields for a name and a password."""
    try:
        pair = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return pair.partition(":")[2]
