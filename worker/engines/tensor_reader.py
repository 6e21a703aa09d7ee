"""Reads the tensors of one component from its files, one at a time."""

import json
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from worker.engines.errors import WeightsError
from worker.engines.tensor_file import TensorFile
from worker.engines.tensor_info import TensorInfo
from worker.engines.tensor_names import Component, names_of

# safetensors' names. Quantised GGUF tensors are read as floats.
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_MAX_TEXT_BYTES = 1 << 20


class TensorReader:
    """Reads tensors by their names in a component. `shapes_only` reads shapes and types, and no data."""

    def __init__(
        self, component: Component, files: Iterable[TensorFile], *, shapes_only: bool
    ) -> None:
        self._shapes_only = shapes_only
        self._stored: dict[str, tuple[TensorFile, str]] = {}
        self._handles: dict[Path, Any] = {}
        for file in files:
            for stored_name, name in names_of(component, file.tensors).items():
                if name in self._stored:
                    raise WeightsError(
                        f"{file.path} holds {stored_name}, which {self._stored[name][0].path} also holds. "
                        "Remove one of them"
                    )
                self._stored[name] = (file, stored_name)

    @property
    def infos(self) -> dict[str, TensorInfo]:
        """Return the type and shape of every tensor."""
        return {name: file.tensors[stored] for name, (file, stored) in self._stored.items()}

    @property
    def metadata(self) -> dict[str, Any]:
        """Return the texts of all files."""
        return {
            key: value for file, _ in self._stored.values() for key, value in file.metadata.items()
        }

    def path_of(self, name: str) -> str:
        """Return the file of a tensor, for messages."""
        return str(self._stored[name][0].path)

    def read(self, name: str) -> torch.Tensor:
        """Return one tensor on the host, or without data on the meta device."""
        file, stored = self._stored[name]
        info = file.tensors[stored]
        if self._shapes_only:
            dtype = _DTYPES.get(info.dtype, torch.float32 if file.is_gguf else None)
            if dtype is None:
                raise WeightsError(
                    f"{file.path}: {stored} has type {info.dtype}, which klein does not read"
                )
            return torch.empty(info.shape, dtype=dtype, device="meta")
        return _read_gguf(file, stored) if file.is_gguf else self._handle(file).get_tensor(stored)

    def read_json(self, name: str) -> Any:
        """Return the JSON that a tensor of bytes holds."""
        file, stored = self._stored[name]
        info = file.tensors[stored]
        if info.dtype != "U8" or len(info.shape) != 1 or info.shape[0] > _MAX_TEXT_BYTES:
            raise WeightsError(f"{file.path}: {stored} holds no text")
        try:
            return json.loads(bytes(self._handle(file).get_tensor(stored).tolist()))
        except (SafetensorError, OSError, ValueError, RecursionError) as exc:
            raise WeightsError(f"{file.path}: {stored} holds no JSON") from exc

    def _handle(self, file: TensorFile) -> Any:
        if file.path not in self._handles:
            self._handles[file.path] = safe_open(file.path, framework="pt", device="cpu")
        return self._handles[file.path]


def _read_gguf(file: TensorFile, name: str) -> torch.Tensor:
    info = file.tensors[name]
    stored = np.memmap(file.path, np.uint8, "r", offset=info.offset, shape=(info.size_bytes,))
    values = torch.from_numpy(np.array(stored))  # a copy: torch has no read-only tensors
    if dtype := _DTYPES.get(info.dtype):
        return values.view(dtype).reshape(info.shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import gguf  # noqa: PLC0415 -- rarely needed
        from diffusers.quantizers.gguf import utils  # noqa: PLC0415 -- as above
    kind = gguf.GGMLQuantizationType[info.dtype]
    row_bytes = info.size_bytes // max(1, int(np.prod(info.shape[:-1])))
    untyped: Any = utils
    parameter = untyped.GGUFParameter(values.reshape(*info.shape[:-1], row_bytes), quant_type=kind)
    dequantized: torch.Tensor = untyped.dequantize_gguf_tensor(parameter)
    return dequantized
