"""Sends the head of a response and its body at once. uvicorn writes them one after the other, which wakes the client twice."""

import asyncio
from typing import Any


class JoinedWrites:
    """A transport that joins two writes of one step of the event loop. It never holds a write beyond that step."""

    __slots__ = ("_held", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, data: bytes) -> None:
        """Hold the first write of a step, and send it with the second one."""
        if self._held:
            held, self._held = self._held, b""
            self._transport.writelines((held, data))
        else:
            self._held = data
            self._loop.call_soon(self._send_held)

    def write_eof(self) -> None:
        """Close the sending end behind what is written."""
        self._send_held()
        self._transport.write_eof()

    def close(self) -> None:
        """Close the transport behind what is written."""
        self._send_held()
        self._transport.close()

    def _send_held(self) -> None:
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():
            self._transport.write(held)

    def __getattr__(self, name: str) -> Any:
        """Leave everything else to the transport."""
        return getattr(self._transport, name)
