"""Authenticates requests by the API key in any of the headers in which the clients of the dialects send one."""

import base64
import binascii
from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends
from fastapi.security import APIKeyHeader
from fastapi.security.utils import get_authorization_scheme_param
from starlette.requests import HTTPConnection

from app.api.errors import Unauthorized
from app.api.state import state_of

_HEADERS = ("X-API-Key", "X-Key", "Api-Key")  # the hosted API, Black Forest Labs, Azure
_SCHEMES = frozenset({"bearer", "token", "key"})  # Token: older clients of Replicate. Key: fal


class CallersKey(APIKeyHeader):
    """Authenticates a request, and documents the header in `/openapi.json`."""

    def __init__(self) -> None:
        super().__init__(name="X-API-Key", description="Or `Authorization: Bearer KEY`.")

    async def __call__(self, request: HTTPConnection) -> str:
        """Return the account of the caller's key. Raises Unauthorized, or TooManyRequests where an address has no budget left."""
        keys = state_of(request.app).keys
        for key in _presented(request):
            key_id = await keys.authenticate(key) if key else None
            if key_id is not None:
                request.state.key_id = key_id
                return keys.account_of(key_id)
        state_of(request.app).address_budget.take(request)
        raise Unauthorized


def _presented(request: HTTPConnection) -> Iterator[str]:
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


KeyId = Annotated[str, Depends(CallersKey())]
