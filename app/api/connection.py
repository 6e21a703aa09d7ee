"""Reads request bodies of bounded size, and stops work when the client disconnects."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from app.api.errors import BadBody, BodyTooLarge

T = TypeVar("T")


async def read_chunks(request: Request, largest_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield the body in chunks. Raises BodyTooLarge as soon as the limit is exceeded."""
    length = request.headers.get("Content-Length", "")
    if length.isdecimal() and int(length[:20]) > largest_bytes:
        raise BodyTooLarge
    received_bytes = 0
    async for chunk in request.stream():
        received_bytes += len(chunk)
        if received_bytes > largest_bytes:
            raise BodyTooLarge
        yield chunk


async def read_json(request: Request, largest_bytes: int) -> dict[str, Any]:
    """Read a JSON object from the body. Raises BadBody or BodyTooLarge."""
    body = b"".join([chunk async for chunk in read_chunks(request, largest_bytes)])
    try:
        parsed = from_json(body, allow_inf_nan=False)
    except ValueError as exc:
        raise BadBody(f"send a JSON object: {exc}") from None
    if not isinstance(parsed, dict):
        raise BadBody("send a JSON object")
    return parsed


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`, or cancel it when the client disconnects. Raises ClientDisconnect."""
    working = asyncio.ensure_future(work)
    disconnecting = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, disconnecting}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        disconnecting.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
