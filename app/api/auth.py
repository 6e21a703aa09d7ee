"""Authenticates requests by their API key."""

from typing import Annotated

from fastapi import Depends
from fastapi.security import APIKeyHeader
from starlette.requests import HTTPConnection

from app.api.errors import Unauthorized
from app.api.presented_keys import presented_keys
from app.api.state import state_of


class CallersKey(APIKeyHeader):
    """Authenticates a request, and documents the header in `/openapi.json`."""

    def __init__(self) -> None:
        super().__init__(name="X-API-Key", description="Or `Authorization: Bearer KEY`.")

    async def __call__(self, request: HTTPConnection) -> str:
        """Return the account of the caller's key. Raises Unauthorized, or TooManyRequests where an address has no budget left."""
        state = state_of(request.app)
        for key in presented_keys(request):
            key_id = await state.keys.authenticate(key) if key else None
            if key_id is not None:
                request.state.key_id = key_id
                account = state.keys.account_of(key_id)
                state.known_callers.remember(key, account)
                return account
        state.address_budget.take(request)
        raise Unauthorized


CALLERS_KEY = CallersKey()
KeyId = Annotated[str, Depends(CALLERS_KEY)]
