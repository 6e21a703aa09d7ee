"""Implements HTTP/1.1 with limits for hostile clients, which uvicorn does not have.

A request must arrive within GRACE_S plus the time that its bytes take at RATE, and the client must read the response at
that rate. Slower connections are closed. No deadline runs while the client waits for the server.

Everything that is not the body counts against one limit until the request is complete: headers, trailers, chunk
extensions. `unserved` limits the connections without a request in progress. After a response that comes before the end of a body, the rest of the body is not read.
"""

import asyncio
from collections import deque
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.api.address_budget import network_of
from app.api.joined_writes import JoinedWrites
from app.api.signal import Signal
from app.api.unserved import Unserved

HEADERS_MAX_BYTES = 64 * 1024
CHUNK_FRAME_BYTES = 32  # of each chunk that do not count: its size and two line ends
SMALL_BODY_BYTES = 64 * 1024  # is read to its end in any case, so that the connection stays open
LINGER_BYTES = (
    1024 * 1024
)  # of a larger body after the response; many clients read only after sending
LINGER_S = 2.0
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class _Flow(FlowControl):
    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._is_writable_event = Signal(is_set=True)  # type: ignore[assignment]


class DeadlineProtocol(HttpToolsProtocol):
    """Adds deadlines to uvicorn's protocol."""

    # With these in its dictionary too, a connection takes 1.3 KB more: CPython shares the names of up to 30 attributes.
    __slots__ = (
        "_address", "_began_s", "_framing_bytes", "_has_headers", "_is_closing",
        "_lingered_bytes", "_lingering", "_reading", "_received_bytes", "_writing",
    )  # fmt: skip
    GRACE_S = 10.0
    RATE = 16 * 1024  # bytes a second
    unserved = Unserved()  # of all connections of the process

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.pipeline = ()  # type: ignore[assignment]  # until a request waits in it
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._address = ""
        self._began_s = 0.0
        self._received_bytes = 0
        self._has_headers = False
        self._framing_bytes = 0  # of the request, so far; what is not its body
        self._is_closing = False  # announced to the client; the response is still being written
        self._lingering: asyncio.TimerHandle | None = None
        self._lingered_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Start the deadline of the first request."""
        super().connection_made(transport)
        self.transport = JoinedWrites(transport, self.loop)  # type: ignore[assignment]
        self.flow = _Flow(transport)
        self._address = network_of(self.client[0] if self.client else "")
        self.unserved.add(self, self._address)
        self._start_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadlines."""
        self._stop_reading()
        self._stop_writing()
        if self._lingering is not None:
            self._lingering.cancel()
        self.unserved.remove(self)
        super().connection_lost(exc)

    def abort(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Count received bytes. The first byte of a request starts its deadline."""
        if self._lingering is not None:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > LINGER_BYTES:
                self.flow.pause_reading()
            return
        if self._reading is None:
            self._start_reading()
        self._received_bytes += len(data)
        self._framing_bytes += len(data)
        super().data_received(data)
        if not self._has_headers and not self.transport.is_closing():
            self.unserved.add(self, self._address, len(data))
        if self._framing_bytes > HEADERS_MAX_BYTES and not self.transport.is_closing():
            if self._has_headers and self.cycle.response_started:
                self.transport.abort()
            else:
                self.transport.write(_TOO_LARGE)
                self.transport.close()
        self._framing_bytes = max(self._framing_bytes, 0)

    def on_message_begin(self) -> None:
        """Start the deadline of a pipelined request, which came with the end of the one before."""
        if self._reading is None:
            self._start_reading()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Ignore trailers, which uvicorn would add to the headers."""
        if not self._has_headers:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Announce the end of the connection in a response that comes before the end of a large body."""
        self._has_headers = True
        self.unserved.remove(self)
        if self.cycle is not None and not self.cycle.response_complete:
            self.pipeline = self.pipeline or deque()
        super().on_headers_complete()
        self.cycle.message_event = Signal()  # type: ignore[assignment]  # before anything waits for it
        headers = dict(self.headers)
        length = headers.get(b"content-length", b"0")[:20]
        is_small = length.isdigit() and int(length) <= SMALL_BODY_BYTES
        if not is_small or b"transfer-encoding" in headers:
            self._watch_for_early_response(self.cycle)

    def on_chunk_header(self) -> None:
        """Count only the extensions of a chunk."""
        self._framing_bytes -= CHUNK_FRAME_BYTES

    def on_body(self, body: bytes) -> None:
        """Count what is not the body."""
        self._framing_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Cancel the read deadline: the request is complete."""
        self._stop_reading()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Close the connection after an early response, once the client had time to read it."""
        if not self._is_closing or self.transport.is_closing():
            super().on_response_complete()
            if self.timeout_keep_alive_task is not None:
                self.unserved.add(self, self._address)
            return
        self.server_state.total_requests += 1
        self._stop_reading()
        self._lingering = self.loop.call_later(LINGER_S, self.transport.abort)
        self.transport.write_eof()
        self.flow.resume_reading()

    def pause_writing(self) -> None:
        """Start the deadline for the client to read the buffered response."""
        super().pause_writing()
        waits_s = self.GRACE_S + self.transport.get_write_buffer_size() / self.RATE
        self._writing = self.loop.call_later(waits_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Cancel the write deadline."""
        self._stop_writing()
        super().resume_writing()

    def _start_reading(self) -> None:
        self._began_s = self.loop.time()
        self._received_bytes = 0
        self._has_headers = False
        self._framing_bytes = 0
        self._reading = self.loop.call_later(self.GRACE_S, self._check_reading)

    def _watch_for_early_response(self, cycle: RequestResponseCycle) -> None:
        send = cycle.send

        async def send_early(message: Any) -> None:
            is_early = message["type"] == "http.response.start" and cycle.more_body
            if is_early:
                self._is_closing = True
                cycle.keep_alive = False  # adds "Connection: close"
            await send(message)
            if is_early:
                cycle.keep_alive = (
                    True  # closing at once would reset the connection; see on_response_complete
                )

        cycle.send = send_early  # type: ignore[method-assign]  # uvicorn has no other place for it

    def _check_reading(self) -> None:
        now_s = self.loop.time()
        if self.flow.read_paused:  # the server is the slow side
            self._began_s, self._received_bytes = now_s, 0
        left_s = self._began_s + self.GRACE_S + self._received_bytes / self.RATE - now_s
        if left_s > 0:
            self._reading = self.loop.call_later(left_s, self._check_reading)
        else:
            self.transport.abort()

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _stop_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
