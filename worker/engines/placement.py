"""Where the parts of a pipeline lie when the device is too small for all of them; chosen once, at start."""

import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from accelerate import cpu_offload_with_hook

from worker.engines import Say
from worker.engines.device import free_bytes
from worker.engines.errors import UnusableSetting
from worker.engines.tuning import Quantization

_GB = 1e9
_MEGA = 1e6
# Beside the weights, for one megapixel; decoding needs the most, 2.8 GiB. What does not fit whole is decoded in tiles.
_DECODING = int(3.2 * _GB)
_STEPPING = int(1.5 * _GB)
_ENCODING = int(0.5 * _GB)
_SMALLER = {Quantization.NONE: 1.0, Quantization.FP8: 0.53, Quantization.NVFP4: 0.32}


class Placement(StrEnum):
    """Which parts stay on the device."""

    RESIDENT = "resident"
    TEXT_VISITS = "text-visits"
    """The text encoder comes for each new prompt and goes again."""
    ONE_AT_A_TIME = "one-at-a-time"
    """Each part comes when it is its turn, and the one before goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes of the weights."""

    text_encoder: int
    transformer: int
    vae: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.text_encoder + self.transformer + self.vae


def sizes_of(pipe: Any, quantization: Quantization) -> Sizes:
    """Measure the parts as they will be once the transformer is quantised."""
    transformer = _size(pipe.transformer) * _SMALLER[quantization]
    return Sizes(
        text_encoder=_size(pipe.text_encoder), transformer=int(transformer), vae=_size(pipe.vae)
    )


def choose_placement(free: int, sizes: Sizes) -> Placement:
    """Choose the fastest that fits into so many bytes; raises `UnusableSetting` where none does."""
    if sizes.total + _DECODING <= free:
        return Placement.RESIDENT
    drawing = sizes.transformer + sizes.vae + _DECODING
    if max(sizes.total + _ENCODING, drawing) <= free:
        return Placement.TEXT_VISITS
    turns = (
        sizes.text_encoder + _ENCODING,
        sizes.transformer + _STEPPING,
        sizes.vae + _DECODING,
    )
    if max(turns) <= free:
        return Placement.ONE_AT_A_TIME
    raise UnusableSetting(
        f"the device has {free / _GB:.1f} GB free, this model needs {max(turns) / _GB:.1f} GB even with "
        "one part at a time; end what else uses the device, or set KLEIN_QUANTIZATION=fp8"
    )


def pictures_at_once(free: int | None, side: int) -> int:
    """Tell how many square pictures may be drawn at once in so many free bytes; any number where nobody knows them."""
    return sys.maxsize if free is None else max(1, free // decoding_bytes(side, side))


def decoding_bytes(width: int, height: int) -> int:
    """Tell what it takes, beside the weights, to decode a picture whole."""
    return int(_DECODING * width * height / _MEGA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The device's memory, as decoding sees it."""

    device: torch.device
    tile: int
    """Side in pixels of what is decoded whole in any case."""

    def asks_for_tiles(self, width: int, height: int, count: int, *, is_short: bool) -> bool:
        """Tell whether so many pictures do not fit whole; `is_short`: it is known that they do not."""
        if max(width, height) <= self.tile:
            return False
        free = free_bytes(self.device)
        return is_short or (free is not None and count * decoding_bytes(width, height) > free)


class Offload:
    """The parts that come to the device and go; none, where all are resident."""

    def __init__(self, pipe: Any, placement: Placement, device: torch.device, say: Say) -> None:
        self._hooks: list[Any] = []
        if placement is Placement.RESIDENT:
            pipe.to(device)
            return
        if placement is Placement.TEXT_VISITS:
            pipe.transformer.to(device)
            pipe.vae.to(device)
            visitors = [pipe.text_encoder]
            how = "the text encoder visits the device for each new prompt"
        else:
            visitors = [pipe.text_encoder, pipe.transformer, pipe.vae]
            how = "each part visits the device when it is its turn"
        took = sum(_visit(module, device) for module in visitors)
        moved = sum(_size(module) for module in visitors) / _GB
        say(f"{placement}: {how}; {moved:.1f} GB go there and back in {took:.2f} s")
        hook = None
        for module in visitors:
            _, hook = cpu_offload_with_hook(module, device, prev_module_hook=hook)
            self._hooks.append(hook)

    def settle(self) -> None:
        """Send what is visiting home; a cancelled order leaves its part behind."""
        for hook in self._hooks:
            hook.offload()


def _visit(module: Any, device: torch.device) -> float:
    started = time.perf_counter()
    module.to(device)
    module.to("cpu")
    return time.perf_counter() - started


def _size(module: Any) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
