"""The engine protocol: all messages between the worker and its engine process. `connection` sends them.

A message is a JSON text and raw blobs. Nothing is pickled.
"""

import json
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, get_args

import numpy as np

from app.loras.transformer import TransformerSize
from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.failure import Cause
from worker.engines import Checkpoint, ImageArray, Lora, Order, Result

_BLOBS = {"pixels", "mask_file", "reference_files"}  # fields that are not in the text


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


@cache
def _text_fields(kind: type[Any]) -> tuple[str, ...]:
    """Return the names of the fields of a dataclass that are in the text of a message."""
    return tuple(field.name for field in fields(kind) if field.name not in _BLOBS)


def _to_dict(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that are in the text, without those of the values in them."""
    kind: Any = type(value)
    texts = {}
    for name in _text_fields(kind):
        texts[name] = getattr(value, name)
    return texts


_ENCODER = json.JSONEncoder(default=_to_dict, check_circular=False)
_DECODER = json.JSONDecoder()


def encode_message(message: Message) -> tuple[bytes, Sequence[bytes]]:
    """Return the text and the blobs of a message."""
    blobs: Sequence[bytes] = ()
    if isinstance(message, Generate):
        blobs = (message.order.mask_file, *message.order.reference_files)
    elif isinstance(message, Preview):
        blobs = (message.pixels,)
    event = {"event": type(message).__name__.lower(), "blobs": list(map(len, blobs))}
    return _ENCODER.encode(event | _to_dict(message)).encode(), blobs


def decode_message(text: bytearray, data: memoryview) -> Message:
    """Read a message from its text and from its blobs, one after the other."""
    values, _ = _DECODER.raw_decode(text.decode())
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
