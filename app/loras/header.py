"""Reads the header of a safetensors file: names, types and shapes of its tensors, and its metadata."""

import json
import re
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from app.file_kind import name_foreign_file
from app.loras.errors import IncompatibleLora

HEADER_MAX_BYTES = 16 * 1024 * 1024
_LENGTH = struct.Struct("<Q")
_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8}
"""Of one value, for the types that a change may have."""
_LFS_POINTER = b"version https://git-lfs"
_ZIP = b"PK\x03\x04"
_PICKLE = re.compile(rb"\x80[\x02-\x05].{6}[^{]", re.DOTALL)  # a safetensors file has { there


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraHeader:
    """What a file says about itself before its numbers."""

    shapes: dict[str, tuple[int, ...]]
    """Of each tensor, by name."""
    dtypes: dict[str, str]
    """As safetensors writes them: BF16, F8_E4M3 …"""
    metadata: dict[str, str]


def read_header(file: Path) -> LoraHeader:
    """Read the header of a file, and check that the file is complete. Raises IncompatibleLora or OSError."""
    size_bytes = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(len(_LFS_POINTER))
        _check_kind(start)
        (length,) = _LENGTH.unpack(start[: _LENGTH.size])
        _check_length(length, size_bytes, start)
        stream.seek(_LENGTH.size)
        text = stream.read(length)
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__", None) or {}
        shapes = {name: _shape(tensor["shape"]) for name, tensor in header.items()}
        dtypes = {name: str(tensor["dtype"]) for name, tensor in header.items()}
        end = _end_of_data(header)
        if not all(isinstance(text, str) for text in metadata.values()):
            raise TypeError  # noqa: TRY301 -- as for the other values
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise IncompatibleLora("it is no safetensors file; convert it, or copy it again") from None
    if size_bytes != _LENGTH.size + length + end:
        raise IncompatibleLora(
            f"it has {size_bytes} bytes instead of {_LENGTH.size + length + end}, so it is cut off; copy it again"
        )
    return LoraHeader(
        shapes=shapes,
        dtypes=dtypes,
        metadata=metadata,
    )


def _check_kind(start: bytes) -> None:
    if start.startswith(_LFS_POINTER):
        raise IncompatibleLora(
            "it is a Git LFS pointer; run `git lfs pull` in its repository and copy it again"
        )
    if start.startswith(_ZIP) or _PICKLE.match(start):
        raise IncompatibleLora(
            "it is a PyTorch pickle, which can run code; convert it to safetensors"
        )
    if len(start) < _LENGTH.size:
        raise IncompatibleLora("it is empty; copy it again")


def _check_length(length: int, size_bytes: int, start: bytes) -> None:
    """Check the length of the header, in bytes. Raises IncompatibleLora."""
    if length <= min(size_bytes - _LENGTH.size, HEADER_MAX_BYTES):
        return
    if kind := name_foreign_file(start):
        raise IncompatibleLora(
            f"it is {kind}, and no safetensors file; download or convert it again"
        )
    if length > size_bytes - _LENGTH.size:
        raise IncompatibleLora(
            "it is no complete safetensors file: its header is cut off; copy it again"
        )
    raise IncompatibleLora(
        f"its header has {length / 2**20:.0f} MB, and at most {HEADER_MAX_BYTES >> 20} MB are read; "
        "save it again without metadata"
    )


def _shape(value: Any) -> tuple[int, ...]:
    if not all(isinstance(side, int) and side >= 0 for side in value):
        raise ValueError(value)
    return tuple(value)


def _end_of_data(header: dict[str, Any]) -> int:
    """Return where the numbers end. Raises ValueError if tensors overlap, leave gaps, or do not have the size of their shape."""
    end = 0
    for tensor in sorted(header.values(), key=lambda tensor: tuple(tensor["data_offsets"])):
        begin, following = tensor["data_offsets"]
        bits = _BITS.get(tensor["dtype"])
        size_bits = 8 * (following - begin)
        if begin != end or (bits is not None and size_bits != bits * prod(tensor["shape"])):
            raise ValueError(begin)
        end = following
    return int(end)
