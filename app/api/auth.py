"""Authenticates requests by the API key in `X-API-Key` or `Authorization: Bearer` (or `Token`, for older clients)."""

from typing import Annotated

from fastapi import Depends
from fastapi.security import APIKeyHeader
from fastapi.security.utils import get_authorization_scheme_param
from starlette.requests import HTTPConnection

from app.api.errors import Unauthorized
from app.api.state import state_of


class CallersKey(APIKeyHeader):
    """Authenticates a request, and documents the header in `/openapi.json`."""

    def __init__(self) -> None:
        super().__init__(name="X-API-Key", description="Or `Authorization: Bearer KEY`.")

    async def __call__(self, request: HTTPConnection) -> str:
        """Return the id of the caller's key. Raises Unauthorized."""
        keys = state_of(request.app).keys
        scheme, bearer = get_authorization_scheme_param(request.headers.get("Authorization"))
        presented = (
            request.headers.get("X-API-Key"),
            bearer if scheme.lower() in {"bearer", "token"} else None,
        )
        for key in presented:
            key_id = await keys.authenticate(key) if key else None
            if key_id is not None:
                return key_id
        raise Unauthorized


KeyId = Annotated[str, Depends(CallersKey())]
