"""Reads the header of a GGUF file: the names, types, shapes and places of its tensors.

The reader of the package `gguf` loops for hours on a damaged header, so this module reads the header itself
(ggml/docs/gguf.md). Every count is checked against the size of the file.
"""

import struct
from math import prod
from pathlib import Path
from typing import BinaryIO

from worker.engines.errors import WeightsError
from worker.engines.tensor_info import TensorInfo, Tensors

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_DIMENSIONS = 4
_MAX_COUNT = 100_000
_MAX_HEADER_BYTES = 100 << 20
_DEFAULT_ALIGNMENT = 32
_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_UINT32, _STRING, _ARRAY = 4, 8, 9
# Type number in the file: name, values per block, bytes per block (gguf.GGML_QUANT_SIZES).
_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    20: ("IQ4_NL", 32, 18),
    23: ("IQ4_XS", 256, 136),
    30: ("BF16", 1, 2),
}


class _Header:
    """Reads values one after the other, and never past the end of the header."""

    def __init__(self, stream: BinaryIO, size_bytes: int) -> None:
        self._stream = stream
        self._end = min(size_bytes, _MAX_HEADER_BYTES)

    def position(self) -> int:
        return self._stream.tell()

    def skip(self, size_bytes: int) -> None:
        if size_bytes > self._end - self._stream.tell():
            raise ValueError("a value lies outside the header")
        self._stream.seek(size_bytes, 1)

    def number(self, code: str) -> int:
        layout = struct.Struct(f"<{code}")
        (value,) = layout.unpack(self._stream.read(layout.size))
        return int(value)

    def text(self) -> str:
        length = self.number("Q")
        if length > self._end - self._stream.tell():
            raise ValueError("a text lies outside the header")
        return self._stream.read(length).decode()

    def skip_value(self, kind: int) -> None:
        if kind == _STRING:
            self.skip(self.number("Q"))
        elif kind == _ARRAY:
            item, count = self.number("I"), self.number("Q")
            if item in _SCALAR_BYTES:
                self.skip(_SCALAR_BYTES[item] * count)
            elif item == _STRING:
                for _ in range(
                    count
                ):  # each text takes 8 bytes or more, so this ends with the file
                    self.skip(self.number("Q"))
            else:
                raise ValueError("an array of arrays")
        else:
            self.skip(_SCALAR_BYTES[kind])


def read_gguf_header(file: Path) -> Tensors:
    """Read the tensors of a file. Raises `WeightsError` if the file is truncated, damaged, or of an unknown type."""
    try:
        size_bytes = file.stat().st_size
        with file.open("rb") as stream:
            return _read(file, _Header(stream, size_bytes), size_bytes)
    except OSError as exc:
        raise WeightsError(f"{file} cannot be read: {exc.strerror}") from exc
    except (ValueError, KeyError, OverflowError, struct.error) as exc:
        raise WeightsError(
            f"{file} is not a complete GGUF file: its header is cut off or damaged. Copy or download it again"
        ) from exc


def _read(file: Path, header: _Header, size_bytes: int) -> Tensors:
    header.skip(len(MAGIC))
    version = header.number("I")
    if version not in _VERSIONS:
        raise WeightsError(f"{file} is GGUF version {version}; klein reads versions 2 and 3")
    tensor_count, value_count = header.number("Q"), header.number("Q")
    if max(tensor_count, value_count) > _MAX_COUNT:
        raise ValueError("too many tensors or values")
    alignment = _DEFAULT_ALIGNMENT
    for _ in range(value_count):
        key, kind = header.text(), header.number("I")
        if key == "general.alignment" and kind == _UINT32:
            alignment = header.number("I")
        else:
            header.skip_value(kind)
    entries = [_read_entry(header, file) for _ in range(tensor_count)]
    if not 0 < alignment <= size_bytes:
        raise ValueError("no alignment")
    start = -(-header.position() // alignment) * alignment
    tensors: Tensors = {}
    for name, dtype, shape, offset, length in entries:
        if start + offset + length > size_bytes:
            raise WeightsError(
                f"{file} is damaged: {name} lies outside its {size_bytes} bytes. Copy or download it again"
            )
        tensors[name] = TensorInfo(
            dtype=dtype, shape=shape, offset=start + offset, size_bytes=length
        )
    return tensors


def _read_entry(header: _Header, file: Path) -> tuple[str, str, tuple[int, ...], int, int]:
    name, dimensions = header.text(), header.number("I")
    if dimensions > _MAX_DIMENSIONS:
        raise ValueError("too many dimensions")
    # GGUF writes the fastest dimension first, torch the slowest.
    shape = tuple(reversed([header.number("Q") for _ in range(dimensions)]))
    number, offset = header.number("I"), header.number("Q")
    if number not in _TYPES:
        raise WeightsError(
            f"{file}: {name} has GGUF type {number}, which klein does not read. "
            "Use a file in Q8_0, Q6_K, Q5_K or Q4_K"
        )
    dtype, block_values, block_bytes = _TYPES[number]
    if shape and shape[-1] % block_values:
        raise ValueError("a row is not whole blocks")
    return name, dtype, shape, offset, prod(shape) // block_values * block_bytes
