"""Implements HTTP/1.1 with deadlines against slow clients; uvicorn has none for a request.

A request must arrive within GRACE_S plus the time that its bytes take at RATE, and the client must read the response at
that rate. Slower connections are closed. No deadline runs while the client waits for the server.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_MAX_BYTES = 64 * 1024
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class DeadlineProtocol(HttpToolsProtocol):
    """Adds deadlines to uvicorn's protocol."""

    GRACE_S = 10.0
    RATE = 16 * 1024  # bytes a second

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._began_s = 0.0
        self._received_bytes = 0
        self._has_headers = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Start the deadline of the first request."""
        super().connection_made(transport)
        self._start_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadlines."""
        self._stop_reading()
        self._stop_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count received bytes; the first byte of a request starts its deadline."""
        if self._reading is None:
            self._start_reading()
        self._received_bytes += len(data)
        super().data_received(data)
        if not self._has_headers and self._received_bytes > HEADERS_MAX_BYTES:
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Start the deadline of a pipelined request, which came with the end of the one before."""
        if self._reading is None:
            self._start_reading()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop counting bytes against the header limit."""
        self._has_headers = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Cancel the read deadline: the request is complete."""
        self._stop_reading()
        super().on_message_complete()

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
        self._reading = self.loop.call_later(self.GRACE_S, self._check_reading)

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
