"""Writes LoRA files of any tensor names without torch."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "F8_E4M3": 1}


def write_header(
    file: Path,
    shapes: Mapping[str, tuple[int, ...]],
    metadata: Mapping[str, str] | None = None,
    dtype: str = "F32",
) -> Path:
    """Write a safetensors file of zeros."""
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name, shape in shapes.items():
        size = _BYTES[dtype]
        for side in shape:
            size *= side
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))
    return file


def lora_shapes(module: str, rows: int, columns: int, rank: int = 2) -> dict[str, tuple[int, ...]]:
    """Return the shapes of one module's LoRA."""
    return {f"{module}.lora_A.weight": (rank, columns), f"{module}.lora_B.weight": (rows, rank)}
