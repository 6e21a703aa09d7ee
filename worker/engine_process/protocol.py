"""The engine protocol: all messages between the worker and its engine process, and their framing.

A frame consists of a head with the lengths of the other parts, a JSON text and raw blobs. It can carry one file descriptor.
Nothing is pickled.
"""

import json
import mmap
import os
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, get_args

import numpy as np

from app.loras.transformer import TransformerSize
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.prediction import Cause
from worker.engines import Checkpoint, ImageArray, Lora, Order, Result

_HEAD = struct.Struct(
    "!IQ?"
)  # bytes of the text, bytes of the blobs, whether there is a file descriptor
_READ_BYTES = 64 * 1024
_MAX_FDS = 4  # of one read; Linux returns one at a time
_BLOBS = {"pixels", "mask_file", "reference_files"}  # fields that are not in the text
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """Worker to engine: generate the images of one order."""

    id: str
    order: Order
    batch_remaining: int = 0
    """How many more messages of the same batch follow this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Worker to engine: stop this request at its next step, if it still runs."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """Engine to worker: what the process does or decides while it starts, as a line for the log."""

    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Engine to worker, each second while it loads or generates: the process is alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Engine to worker: the model is loaded and warm."""

    checkpoint: Checkpoint
    load_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Engine to worker: these weights cannot be served, and the process ends."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Engine to worker: step k of n is done, and so are those before it."""

    id: str
    k: int
    n: int
    ends: tuple[float, ...]
    """When each step ended that no message before this one has told, on the monotonic clock, which all processes share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Engine to worker: the unfinished image after the step of the next `Step` message."""

    id: str
    width: int
    height: int
    pixels: bytes
    """RGB, three bytes a pixel."""

    @property
    def image(self) -> ImageArray:
        """The pixels as an array."""
        return np.frombuffer(self.pixels, np.uint8).reshape(self.height, self.width, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Engine to worker: the request is complete. The file beside this message contains the images."""

    id: str
    sizes: tuple[tuple[int, int], ...]
    """Width and height of each image. The file has three bytes a pixel."""
    notes: tuple[str, ...]
    generate_s: float
    cached_bytes: int = 0
    numerics: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Engine to worker: the request failed, and the engine is ready for the next one."""

    id: str
    cause: Cause
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Engine to worker: the request was cancelled, and the engine is ready for the next one."""

    id: str


Message = (
    Generate | Cancel | Loading | Beat | Ready | Broken | Step | Preview | Done | Failed | Stopped
)
_TYPES: dict[str, type[Any]] = {kind.__name__.lower(): kind for kind in get_args(Message)}


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
        text, blobs = _to_frame(message)
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
        while not self._has_message:
            self._read(timeout_s)
        text_bytes, blobs_bytes, has_fd = _HEAD.unpack_from(self._unread)
        begin, end = _HEAD.size + text_bytes, _HEAD.size + text_bytes + blobs_bytes
        text, blobs = self._unread[_HEAD.size : begin], self._unread[begin:end]
        del self._unread[:end]
        return _from_frame(text, memoryview(blobs)), self._fds.popleft() if has_fd else None

    def is_readable(self, timeout_s: float) -> bool:
        """Wait up to this long and return whether there is a message or the end of the stream to receive."""
        try:
            while not self._has_message:
                self._read(timeout_s)
        except TimeoutError:
            return False
        except (EOFError, OSError):
            return True
        return True

    def close(self) -> None:
        """Close this end. The other end sees the end of the stream."""
        self._socket.close()
        while self._fds:
            os.close(self._fds.popleft())

    @property
    def _has_message(self) -> bool:
        """Whether a whole message was received."""
        if len(self._unread) < _HEAD.size:
            return False
        text_bytes, blobs_bytes, _ = _HEAD.unpack_from(self._unread)
        end: int = _HEAD.size + text_bytes + blobs_bytes
        return len(self._unread) >= end

    def _read(self, timeout_s: float | None) -> None:
        """Read what has come, or wait for it. Raises TimeoutError, EOFError and OSError."""
        if timeout_s is not None and not self._wait(timeout_s):
            raise TimeoutError
        data, fds, _flags, _address = socket.recv_fds(self._socket, _READ_BYTES, _MAX_FDS, _CLOEXEC)
        self._fds.extend(fds)
        if not data:
            raise EOFError
        self._unread += data

    def _wait(self, timeout_s: float) -> bool:
        try:
            return bool(select.select([self._socket], [], [], timeout_s)[0])
        except (OSError, ValueError):  # this end is closed, which the read reports
            return True


@cache
def _text_fields(kind: type[Any]) -> tuple[str, ...]:
    """Return the names of the fields of a dataclass that are in the text of a message."""
    return tuple(field.name for field in fields(kind) if field.name not in _BLOBS)


def _to_dict(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that are in the text, without those of the values in them."""
    kind: Any = type(value)
    return {name: getattr(value, name) for name in _text_fields(kind)}


_JSON = json.JSONEncoder(default=_to_dict, check_circular=False)


def _to_frame(message: Message) -> tuple[bytes, Sequence[bytes]]:
    blobs: Sequence[bytes] = ()
    if isinstance(message, Generate):
        blobs = (message.order.mask_file, *message.order.reference_files)
    elif isinstance(message, Preview):
        blobs = (message.pixels,)
    event = {"event": type(message).__name__.lower(), "blobs": [len(blob) for blob in blobs]}
    return _JSON.encode(event | _to_dict(message)).encode(), blobs


def _from_frame(text: bytearray, data: memoryview) -> Message:
    values = json.loads(text.decode())
    blobs, begin = [], 0
    for size in values.pop("blobs"):
        blobs.append(bytes(data[begin : begin + size]))
        begin += size
    return _from_fields(values, tuple(blobs))


def _from_fields(fields: dict[str, Any], blobs: tuple[bytes, ...]) -> Message:
    kind = _TYPES[fields.pop("event")]
    if kind is Generate:
        order = fields["order"]
        loras = tuple(Lora(**lora) for lora in order["loras"])
        order |= {"seeds": tuple(order["seeds"]), "loras": loras}
        order |= {"mask_file": blobs[0], "reference_files": blobs[1:]}
        fields["order"] = Order(**order)
    elif kind is Preview:
        fields["pixels"] = blobs[0]
    elif kind is Ready:
        checkpoint = fields["checkpoint"]
        checkpoint["kind"] = CheckpointKind(checkpoint["kind"])
        if checkpoint["transformer"] is not None:
            checkpoint["transformer"] = TransformerSize(**checkpoint["transformer"])
        fields["checkpoint"] = Checkpoint(**checkpoint)
    elif kind is Done:
        fields["sizes"] = tuple((width, height) for width, height in fields["sizes"])
        fields["notes"] = tuple(fields["notes"])
    elif kind is Step:
        fields["ends"] = tuple(fields["ends"])
    elif kind is Failed:
        fields["cause"] = Cause(fields["cause"])
    message: Message = kind(**fields)
    return message


def map_images(fd: int, done: Done) -> Result:
    """Map the file of a `Done` message, close it, and return read-only views of its images."""
    size_bytes = sum(width * height * 3 for width, height in done.sizes)
    try:
        memory = mmap.mmap(fd, size_bytes, access=mmap.ACCESS_READ)
    finally:
        os.close(fd)
    images, offset = [], 0
    for width, height in done.sizes:
        count = width * height * 3
        pixels = np.frombuffer(memory, np.uint8, count, offset)
        images.append(pixels.reshape(height, width, 3))
        offset += count
    return Result(
        images=tuple(images),
        notes=done.notes,
        generate_s=done.generate_s,
        cached_bytes=done.cached_bytes,
        numerics=done.numerics,
    )
