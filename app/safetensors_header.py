"""Reads the header of a safetensors file: names, types and shapes of its tensors, and its metadata."""

import json
import re
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from app.file_kind import name_foreign_file

_LENGTH = struct.Struct("<Q")
_SIDE_MAX = 1 << 32
_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8,
}  # fmt: skip
"""Of one value, by type. A type that is not listed is newer, and its sizes are not checked."""
_LFS_POINTER = b"version https://git-lfs"
_ZIP = b"PK\x03\x04"
_PICKLE = re.compile(rb"\x80[\x02-\x05].{6}[^{]", re.DOTALL)  # a safetensors file has { there


class BadSafetensors(Exception):
    """The file is damaged, or no safetensors file. The message continues the name of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsHeader:
    """What a file says about itself before its numbers."""

    shapes: dict[str, tuple[int, ...]]
    """Of each tensor, by name."""
    dtypes: dict[str, str]
    """As safetensors writes them: BF16, F8_E4M3 …"""
    metadata: dict[str, str]


def read_safetensors_header(file: Path, max_bytes: int) -> SafetensorsHeader:
    """Read the header of a file, and check that the file is complete. Raises BadSafetensors or OSError.

    `max_bytes` limits the length of the header. The rules are those of the format (safetensors README, "Format").
    """
    size_bytes = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(len(_LFS_POINTER))
        _check_kind(start)
        (length,) = _LENGTH.unpack(start[: _LENGTH.size])
        _check_length(length, size_bytes, max_bytes, start)
        stream.seek(_LENGTH.size)
        text = stream.read(length)
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__", None) or {}
        shapes = {name: _shape(tensor["shape"]) for name, tensor in header.items()}
        dtypes = {name: str(tensor["dtype"]) for name, tensor in header.items()}
        offsets = {name: _offsets(tensor["data_offsets"]) for name, tensor in header.items()}
        if not all(isinstance(text, str) for text in metadata.values()):
            raise TypeError  # noqa: TRY301 -- as for the other values
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise BadSafetensors("is no safetensors file; convert it, or copy it again") from None
    expected_bytes = _LENGTH.size + length + max((end for _, end in offsets.values()), default=0)
    if size_bytes != expected_bytes:
        raise BadSafetensors(
            f"is damaged or cut off: it has {size_bytes} bytes instead of {expected_bytes}; copy or download it again"
        )
    _check_offsets(offsets, shapes, dtypes)
    return SafetensorsHeader(shapes=shapes, dtypes=dtypes, metadata=metadata)


def _check_kind(start: bytes) -> None:
    if start.startswith(_LFS_POINTER):
        raise BadSafetensors(
            "is a Git LFS pointer; run `git lfs pull` in its repository and copy it again"
        )
    if start.startswith(_ZIP) or _PICKLE.match(start):
        raise BadSafetensors("is a PyTorch pickle, which can run code; convert it to safetensors")
    if len(start) < _LENGTH.size:
        raise BadSafetensors("is empty or cut off; copy or download it again")


def _check_length(length: int, size_bytes: int, max_bytes: int, start: bytes) -> None:
    """Check the length of the header, in bytes. Raises BadSafetensors."""
    if length <= min(size_bytes - _LENGTH.size, max_bytes):
        return
    if kind := name_foreign_file(start):
        raise BadSafetensors(f"is {kind}, and no safetensors file; download or convert it again")
    if length > size_bytes - _LENGTH.size:
        raise BadSafetensors(
            "is no complete safetensors file: its header is cut off; copy or download it again"
        )
    raise BadSafetensors(
        f"has a header of {length >> 20} MB, and at most {max_bytes >> 20} MB are read; "
        "save it again without metadata"
    )


def _shape(value: Any) -> tuple[int, ...]:
    if not all(isinstance(side, int) and 0 <= side < _SIDE_MAX for side in value):
        raise ValueError(value)
    return tuple(value)


def _offsets(value: Any) -> tuple[int, int]:
    begin, end = value
    if not (isinstance(begin, int) and isinstance(end, int) and 0 <= begin <= end):
        raise ValueError(value)
    return begin, end


def _check_offsets(
    offsets: dict[str, tuple[int, int]], shapes: dict[str, tuple[int, ...]], dtypes: dict[str, str]
) -> None:
    """Check that each tensor has the size of its shape and follows the one before. Raises BadSafetensors."""
    follows = 0
    for name, (begin, end) in sorted(offsets.items(), key=lambda item: item[1]):
        bits = _BITS.get(dtypes[name])
        has_size = bits is None or 8 * (end - begin) == bits * prod(shapes[name])
        if begin != follows or not has_size:
            shown = "".join(c if c.isprintable() else "?" for c in name[:80])
            raise BadSafetensors(
                f"is damaged: {shown} overlaps another tensor, leaves a gap, or has not the size of its shape; "
                "copy or download it again"
            )
        follows = end
