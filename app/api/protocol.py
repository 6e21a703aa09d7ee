"""HTTP/1.1 for clients that may be slow on purpose: uvicorn itself waits for a request for ever.

A request must come within GRACE_S and the time that its bytes take at RATE; an answer must be read at that pace. Who
is slower is hung up on; who waits for us is not. A request that is there whole is no longer looked at.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_MAX_BYTES = 64 * 1024
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class DeadlineProtocol(HttpToolsProtocol):
    """Uvicorn's protocol with deadlines."""

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
        """Expect the first request."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadlines."""
        self._stop_reading()
        self._stop_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes; its first byte starts the clock."""
        if self._reading is None:
            self._expect()
        self._received_bytes += len(data)
        super().data_received(data)
        if not self._has_headers and self._received_bytes > HEADERS_MAX_BYTES:
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Start the clock of a request whose first bytes came with the last ones of another."""
        if self._reading is None:
            self._expect()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Count no more against the limit of the headers."""
        self._has_headers = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Stop the clock: from here on the client waits for us."""
        self._stop_reading()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Expect the client to read what is buffered."""
        super().pause_writing()
        waits_s = self.GRACE_S + self.transport.get_write_buffer_size() / self.RATE
        self._writing = self.loop.call_later(waits_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop that clock."""
        self._stop_writing()
        super().resume_writing()

    def _expect(self) -> None:
        self._began_s = self.loop.time()
        self._received_bytes = 0
        self._has_headers = False
        self._reading = self.loop.call_later(self.GRACE_S, self._look)

    def _look(self) -> None:
        now_s = self.loop.time()
        if self.flow.read_paused:  # it is us who are slow
            self._began_s, self._received_bytes = now_s, 0
        left_s = self._began_s + self.GRACE_S + self._received_bytes / self.RATE - now_s
        if left_s > 0:
            self._reading = self.loop.call_later(left_s, self._look)
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
