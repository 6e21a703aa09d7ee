"""Every message that crosses the border between the worker and its engine process, and the framing.

A frame is two lengths, a JSON text and raw blobs, with at most one file descriptor beside it.
Nothing is ever pickled.
"""

import json
import mmap
import os
import select
import socket
import struct
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.prediction import Cause
from worker.engines import Checkpoint, Lora, Order, Picture, Result

_HEAD = struct.Struct("!II")
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """Worker to engine: draw this."""

    id: str
    order: Order
    more: int = 0
    """So many orders follow that agree with this one, to be drawn at once with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Worker to engine: stop that order at its next step, if it still runs."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """Engine to worker: the process lives; what it does now, or decided, in a line for the log."""

    phase: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """Engine to worker: loaded and warm."""

    checkpoint: Checkpoint
    load_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """Engine to worker: these weights cannot be served; the process ends."""

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Engine to worker: step k of n is done."""

    id: str
    k: int
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Engine to worker: what the picture looks like after the step that is told next."""

    id: str
    width: int
    height: int
    pixels: bytes
    """Three bytes each."""

    @property
    def picture(self) -> Picture:
        """The pixels as a picture."""
        return np.frombuffer(self.pixels, np.uint8).reshape(self.height, self.width, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Engine to worker: the pictures lie one after the other in the file that comes with it."""

    id: str
    sizes: tuple[tuple[int, int], ...]
    """Width and height of each; three bytes a pixel."""
    notes: tuple[str, ...]
    generate_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """Engine to worker: this order failed; the next one may come."""

    id: str
    cause: Cause
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Engine to worker: the order was cancelled; the next one may come."""

    id: str


Message = Generate | Cancel | Loading | Ready | Broken | Step | Preview | Done | Failed | Stopped
_TYPES: dict[str, type[Any]] = {
    kind.__name__.lower(): kind
    for kind in (Generate, Cancel, Loading, Ready, Broken, Step, Preview, Done, Failed, Stopped)
}


class EngineConnection:
    """One end of the socket; any thread may send, one thread receives."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()

    def send(self, message: Message, *, fd: int | None = None) -> None:
        """Send one message; raises OSError when the other end is gone."""
        text, blobs = _to_frame(message)
        head = _HEAD.pack(len(text), 0 if fd is None else 1)
        with self._sending:
            if fd is None:
                self._socket.sendall(head + text)
            else:
                sent = socket.send_fds(self._socket, [head], [fd])
                self._socket.sendall(head[sent:] + text)
            for blob in blobs:
                self._socket.sendall(blob)

    def receive(self, timeout_s: float | None = None) -> tuple[Message, int | None]:
        """Give the next message and the descriptor that came with it, which is the caller's to close.

        Raises TimeoutError, and EOFError when the other end is gone.
        """
        self._socket.settimeout(timeout_s)
        head, fds, _flags, _address = socket.recv_fds(self._socket, _HEAD.size, 1, _CLOEXEC)
        fd = fds[0] if fds else None
        try:
            head += self._read(_HEAD.size - len(head))
            text_bytes, _has_fd = _HEAD.unpack(head)
            fields = json.loads(bytes(self._read(text_bytes)))
            blobs = tuple(bytes(self._read(size)) for size in fields.pop("blobs"))
            return _from_fields(fields, blobs), fd
        except BaseException:
            if fd is not None:
                os.close(fd)
            raise

    def is_readable(self, timeout_s: float) -> bool:
        """Say whether the other end has sent something or is gone, after at most so many seconds."""
        return bool(select.select([self._socket], [], [], timeout_s)[0])

    def close(self) -> None:
        """Hang up; the other end sees the end of the stream."""
        self._socket.close()

    def _read(self, size: int) -> bytearray:
        data = bytearray(size)
        view = memoryview(data)
        while view:
            count = self._socket.recv_into(view)
            if not count:
                raise EOFError
            view = view[count:]
        return data


def _to_frame(message: Message) -> tuple[bytes, Sequence[bytes]]:
    blobs: Sequence[bytes] = ()
    if isinstance(message, Generate):
        blobs = message.order.references
        message = replace(message, order=replace(message.order, references=()))
    elif isinstance(message, Preview):
        blobs = (message.pixels,)
        message = replace(message, pixels=b"")
    fields = {
        "event": type(message).__name__.lower(),
        "blobs": [len(blob) for blob in blobs],
        **asdict(message),
    }
    if isinstance(message, Preview):
        del fields["pixels"]
    return json.dumps(fields).encode(), blobs


def _from_fields(fields: dict[str, Any], blobs: tuple[bytes, ...]) -> Message:
    kind = _TYPES[fields.pop("event")]
    if kind is Generate:
        order = fields["order"]
        loras = tuple(Lora(**lora) for lora in order["loras"])
        order |= {"seeds": tuple(order["seeds"]), "references": blobs, "loras": loras}
        fields["order"] = Order(**order)
    elif kind is Preview:
        fields["pixels"] = blobs[0]
    elif kind is Ready:
        checkpoint = fields["checkpoint"]
        checkpoint["kind"] = CheckpointKind(checkpoint["kind"])
        fields["checkpoint"] = Checkpoint(**checkpoint)
    elif kind is Done:
        fields["sizes"] = tuple((width, height) for width, height in fields["sizes"])
        fields["notes"] = tuple(fields["notes"])
    elif kind is Failed:
        fields["cause"] = Cause(fields["cause"])
    message: Message = kind(**fields)
    return message


def map_pictures(fd: int, done: Done) -> Result:
    """Give read-only views of the pictures in a file that came with `done`, and close it."""
    size_bytes = sum(width * height * 3 for width, height in done.sizes)
    try:
        memory = mmap.mmap(fd, size_bytes, access=mmap.ACCESS_READ)
    finally:
        os.close(fd)
    pictures, offset = [], 0
    for width, height in done.sizes:
        count = width * height * 3
        pixels = np.frombuffer(memory, np.uint8, count, offset)
        pictures.append(pixels.reshape(height, width, 3))
        offset += count
    return Result(pictures=tuple(pictures), notes=done.notes, generate_s=done.generate_s)
