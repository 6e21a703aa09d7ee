"""Sends the messages of `protocol` between the worker and its engine process, over a socket.

A frame consists of a head with the lengths of the other parts, the text of a message and its blobs. It can carry one file
descriptor.
"""

import os
import select
import socket
import struct
import threading
from collections import deque

from worker.engine_process.protocol import Message, decode_message, encode_message

_HEAD = struct.Struct(
    "!IQ?"
)  # bytes of the text and of the blobs, and whether there is a descriptor
_READ_BYTES = 64 * 1024
_MAX_FDS = 4  # of one read; Linux returns one at a time
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class EngineConnection:
    """Sends and receives messages on one end of the socket. Any thread may send, one thread receives."""

    def __init__(self, end: socket.socket, send_timeout_s: float | None = None) -> None:
        """`send_timeout_s` limits the time for which the other end may read nothing of a message. None means no limit."""
        end.settimeout(send_timeout_s)
        self._socket = end
        self._send_lock = threading.Lock()
        self._unread = bytearray()  # what was received behind the last message
        self._fds: deque[int] = deque()  # of these messages

    def send(self, message: Message, *, fd: int | None = None) -> None:
        """Send one message. Raises OSError if the other end is closed."""
        text, blobs = encode_message(message)
        frame = _HEAD.pack(len(text), sum(map(len, blobs)), fd is not None) + text
        with self._send_lock:
            sent = 0 if fd is None else socket.send_fds(self._socket, [frame], [fd])
            self._socket.sendall(frame[sent:])
            for blob in blobs:
                self._socket.sendall(blob)

    def receive(self, timeout_s: float | None = None) -> tuple[Message, int | None]:
        """Return the next message and its file descriptor, which the caller must close.

        Raises TimeoutError if nothing comes for that long, and EOFError if the other end is closed.
        """
        while (received := self._take()) is None:
            self._read(timeout_s)
        return received

    def close(self) -> None:
        """Close this end. The other end sees the end of the stream."""
        self._socket.close()
        while self._fds:
            os.close(self._fds.popleft())

    def _take(self) -> tuple[Message, int | None] | None:
        """Take the first message, if the whole of it was read."""
        if len(self._unread) < _HEAD.size:
            return None
        text_bytes, blobs_bytes, has_fd = _HEAD.unpack_from(self._unread)
        begin, end = _HEAD.size + text_bytes, _HEAD.size + text_bytes + blobs_bytes
        if len(self._unread) < end:
            return None
        text, blobs = self._unread[_HEAD.size : begin], self._unread[begin:end]
        del self._unread[:end]
        return decode_message(text, memoryview(blobs)), self._fds.popleft() if has_fd else None

    def _read(self, timeout_s: float | None) -> None:
        """Read what has come, or wait for it. Raises TimeoutError, EOFError and OSError."""
        if timeout_s is not None:
            try:
                is_readable = bool(select.select([self._socket], [], [], timeout_s)[0])
            except (OSError, ValueError):  # this end is closed, which the read reports
                is_readable = True
            if not is_readable:
                raise TimeoutError
        data, fds, _flags, _address = socket.recv_fds(self._socket, _READ_BYTES, _MAX_FDS, _CLOEXEC)
        self._fds.extend(fds)
        if not data:
            raise EOFError
        self._unread += data
