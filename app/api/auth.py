"""Who is asking: the key in `X-API-Key` or `Authorization: Bearer`."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from app.api.errors import Unauthorized
from app.keys import Keys

# these two only document the schemes; the key is read below, from either
_SCHEMES = [
    Depends(APIKeyHeader(name="X-API-Key", auto_error=False)),
    Depends(HTTPBearer(auto_error=False)),
]


async def _authenticate(request: Request) -> str:
    """Tell the id of the caller's key. Raises Unauthorized."""
    keys: Keys = request.app.state.keys
    scheme, bearer = get_authorization_scheme_param(request.headers.get("Authorization"))
    presented = [request.headers.get("X-API-Key", ""), bearer if scheme.lower() == "bearer" else ""]
    for key in presented:
        key_id = keys.authenticate(key) if key else None
        if key_id is not None:
            return key_id
    raise Unauthorized


KeyId = Annotated[str, Depends(_authenticate)]
AUTHENTICATED = _SCHEMES
