"""Reads the header of a safetensors file, and checks that the file is complete."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path

from worker.engines.errors import WeightsError

_LENGTH = struct.Struct("<Q")
_MAX_HEADER_BYTES = 100 << 20
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """Describes one tensor of a file."""

    dtype: str
    """As safetensors writes it: BF16, F8_E4M3 …"""
    shape: tuple[int, ...]


Tensors = dict[str, TensorInfo]
"""The tensors of one or more files, by name."""


def read_header(file: Path) -> Tensors:
    """Read the names, types and shapes of a file's tensors (safetensors README, "Format").

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
            if header_bytes > min(size_bytes, _MAX_HEADER_BYTES):
                raise WeightsError(
                    f"{file} is not a complete safetensors file: its header is cut off. "
                    "Copy or download it again"
                )
            stream.seek(_LENGTH.size)
            header = json.loads(stream.read(header_bytes))
        header.pop("__metadata__", None)
        ends = [tensor["data_offsets"][1] for tensor in header.values()]
        tensors = {
            name: TensorInfo(dtype=str(tensor["dtype"]), shape=tuple(tensor["shape"]))
            for name, tensor in header.items()
        }
    except OSError as exc:
        raise WeightsError(f"{file} cannot be read: {exc.strerror}") from exc
    except (ValueError, struct.error, KeyError, TypeError, AttributeError, IndexError) as exc:
        raise WeightsError(f"{file} is not a safetensors file. Copy or download it again") from exc
    expected_bytes = _LENGTH.size + header_bytes + max(ends, default=0)
    if size_bytes != expected_bytes:
        raise WeightsError(
            f"{file} is damaged: it has {size_bytes} bytes instead of {expected_bytes}. Copy or download it again"
        )
    return tensors
