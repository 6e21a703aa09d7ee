"""Reading a body of bounded size, and waiting on behalf of a client that may go away meanwhile."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from fastapi import Request
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from app.api.errors import BadBody, BodyTooLarge

T = TypeVar("T")


async def read_chunks(request: Request, largest_bytes: int) -> AsyncGenerator[bytes, None]:
    """Read the body as it comes. Raises BodyTooLarge as soon as it is known to be."""
    told = request.headers.get("Content-Length", "")
    if told.isdecimal() and int(told[:20]) > largest_bytes:
        raise BodyTooLarge
    seen = 0
    async for chunk in request.stream():
        seen += len(chunk)
        if seen > largest_bytes:
            raise BodyTooLarge
        yield chunk


async def read_json(request: Request, largest_bytes: int) -> dict[str, Any]:
    """Read a body that is a JSON object. Raises BadBody or BodyTooLarge."""
    body = b"".join([part async for part in read_chunks(request, largest_bytes)])
    try:
        given = from_json(body, allow_inf_nan=False)
    except ValueError as exc:
        raise BadBody(f"send a JSON object: {exc}") from None
    if not isinstance(given, dict):
        raise BadBody("send a JSON object")
    return given


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Give what the work gives, or stop it when the client hangs up. Raises ClientDisconnect."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
