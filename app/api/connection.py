"""Reads request bodies of bounded size, and stops work when the client disconnects."""

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, NoReturn, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from app.api.errors import BadBody, BodyTooLarge, Unauthorized
from app.api.state import state_of

T = TypeVar("T")
KEY_CHECK_S = 2.0  # how often the key is checked while a body arrives


async def read_chunks(request: Request, largest_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield the body in chunks. Raises BodyTooLarge as soon as the limit is exceeded, and Unauthorized if the key is revoked."""
    length = request.headers.get("Content-Length", "")
    if length.isdecimal() and int(length[:20]) > largest_bytes:
        raise BodyTooLarge
    received_bytes = 0
    check_at_s = time.monotonic() + KEY_CHECK_S
    async for chunk in request.stream():
        received_bytes += len(chunk)
        if received_bytes > largest_bytes:
            raise BodyTooLarge
        if time.monotonic() > check_at_s:
            if (key_id := getattr(request.state, "key_id", None)) is not None:
                await require_key(request, key_id)
            check_at_s = time.monotonic() + KEY_CHECK_S
        yield chunk


def refuse_encoding(request: Request) -> None:
    """Check that the body is not compressed: it would be no bounded work to unpack it. Raises BadBody."""
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in {"", "identity"}:
        raise BadBody(f"send the body without Content-Encoding; {encoding[:40]} is not read")


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`, or cancel it when the client disconnects. Raises ClientDisconnect."""
    working = asyncio.ensure_future(work)
    disconnecting = asyncio.ensure_future(until_disconnected(request))
    try:
        await asyncio.wait({working, disconnecting}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else disconnecting.result()
    finally:
        disconnecting.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait({working})


async def require_key(request: Request, key_id: str) -> None:
    """Check that a key is valid, now and while the body arrives. Raises Unauthorized or Unavailable."""
    request.state.key_id = key_id
    if not await state_of(request.app).keys.is_valid(key_id):
        raise Unauthorized


async def until_disconnected(request: Request) -> NoReturn:
    """Wait until the client disconnects. Raises ClientDisconnect."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise ClientDisconnect
