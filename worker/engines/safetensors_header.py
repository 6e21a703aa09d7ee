"""Reads the header of a safetensors file, and checks that the file is complete."""

import json
import struct
from pathlib import Path
from typing import Any

from app.file_kind import name_foreign_file
from worker.engines.errors import WeightsError
from worker.engines.tensor_info import TensorInfo, Tensors

_LENGTH = struct.Struct("<Q")
_MAX_HEADER_BYTES = 100 << 20
_MAX_SIDE = 1 << 32
_LFS_POINTER = b"version https://git-lfs"


_MALFORMED = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    RecursionError,
    OverflowError,
)


def read_header(file: Path) -> Tensors:
    """Read the names, types and shapes of a file's tensors. See `read_header_and_metadata`."""
    return read_header_and_metadata(file)[0]


def read_header_and_metadata(file: Path) -> tuple[Tensors, dict[str, Any]]:
    """Read a file's tensors (safetensors README, "Format") and the texts that its writer added.

    Raises `WeightsError` if the file is truncated, damaged, or not a safetensors file.
    """
    try:
        size_bytes = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(_LENGTH.size)
            if start + stream.read(len(_LFS_POINTER) - len(start)) == _LFS_POINTER:
                raise WeightsError(
                    f"{file} is a Git LFS pointer. Run `git lfs pull` in its repository"
                )
            (header_bytes,) = _LENGTH.unpack(start)
            _check_length(file, header_bytes, size_bytes, start)
            stream.seek(_LENGTH.size)
            header = json.loads(stream.read(header_bytes))
        metadata = dict(header.pop("__metadata__", None) or {})
        ends = [int(tensor["data_offsets"][1]) for tensor in header.values()]
        tensors = {
            name: TensorInfo(dtype=str(tensor["dtype"]), shape=_shape(tensor["shape"]))
            for name, tensor in header.items()
        }
    except OSError as exc:
        raise WeightsError(f"{file} cannot be read: {exc.strerror}") from exc
    except (*_MALFORMED, struct.error) as exc:
        raise WeightsError(f"{file} is not a safetensors file. Copy or download it again") from exc
    expected_bytes = _LENGTH.size + header_bytes + max(ends, default=0)
    if size_bytes != expected_bytes:
        raise WeightsError(
            f"{file} is damaged: it has {size_bytes} bytes instead of {expected_bytes}. Copy or download it again"
        )
    return tensors, metadata


def _check_length(file: Path, header_bytes: int, size_bytes: int, start: bytes) -> None:
    if header_bytes <= min(size_bytes, _MAX_HEADER_BYTES):
        return
    if kind := name_foreign_file(start):
        raise WeightsError(f"{file} is {kind}, and no safetensors file. Download it again")
    if header_bytes > size_bytes:
        raise WeightsError(
            f"{file} is not a complete safetensors file: its header is cut off. Copy or download it again"
        )
    raise WeightsError(
        f"{file} has a header of {header_bytes >> 20} MB, and at most {_MAX_HEADER_BYTES >> 20} MB are read. "
        "Save it again without metadata"
    )


def _shape(sides: list[object]) -> tuple[int, ...]:
    if not all(isinstance(side, int) and 0 <= side < _MAX_SIDE for side in sides):
        raise ValueError("a side of a tensor is no number")
    return tuple(sides)  # type: ignore[arg-type]  # all are integers
