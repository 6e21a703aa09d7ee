"""Turns weights that were published quantised into plain floats: fp8 and int8 with scales, and nvfp4."""

import json
import re
from collections.abc import Iterator

import torch

from worker.engines.errors import WeightsError
from worker.engines.tensor_info import TensorInfo
from worker.engines.tensor_reader import TensorReader

_SCALES = ("weight_scale", "scale_weight", "weight_scale_inv")
"""Names of a weight's scale: those of Black Forest Labs, of older ComfyUI files, and of Qwen's fp8 text encoders."""
_SECOND_SCALE = "weight_scale_2"
_NOT_WEIGHTS = ("input_scale", "scale_input", "comfy_quant", _SECOND_SCALE, *_SCALES)
"""The first two are scales of activations, which only fp8 arithmetic needs."""
_MARKER = "scaled_fp8"
_COMFY_METADATA = "_quantization_metadata"
_COMFY_FORMATS = {"float8_e4m3fn", "float8_e5m2", "int8_tensorwise", "nvfp4"}
_SCALED_TYPES = {"F8_E4M3", "F8_E5M2", "I8"}
_BLOCK = 128  # rows and columns of a weight that share a scale, in DeepSeek's and Qwen's fp8 files
_NVFP4_BLOCK = 16
_NVFP4_VALUES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_BITSANDBYTES = re.compile(r"\.(absmax|quant_map|nested_absmax|SCB|quant_state\.[\w.]+)$")
_PLAIN_NAMES = {"BF16": "bf16", "F16": "fp16", "F32": "fp32"}
PLAIN_FORMATS = frozenset(_PLAIN_NAMES.values())
_ADVICE = "Use a file in bf16, fp8 or GGUF"


def formats_of(reader: TensorReader) -> list[str]:
    """Name the number formats of a component's matrices, for people."""
    infos = reader.infos
    return sorted(
        {
            _format_of(info.dtype, is_scaled=_scale_name(_split(name)[0], infos) is not None)
            for name, info in infos.items()
            if name.endswith(".weight") and len(info.shape) > 1
        }
    )


def _format_of(dtype: str, *, is_scaled: bool) -> str:
    if dtype.startswith("F8"):
        return "fp8 with scales" if is_scaled else "fp8"
    if is_scaled:
        return {"U8": "nvfp4", "I8": "int8 with scales"}.get(dtype, dtype)
    return _PLAIN_NAMES.get(dtype, dtype)


def read_dequantized(reader: TensorReader) -> Iterator[tuple[str, torch.Tensor]]:
    """Read all tensors of a component, each weight with its scales applied. The scales themselves are left out.

    Raises `WeightsError`, which names the file and the tensor, if a scale or its weight is missing or has another shape.
    """
    infos = reader.infos
    _check_comfy_formats(reader, infos)
    layers = {
        layer for name in infos for layer, part in [_split(name)] if part in _NOT_WEIGHTS and layer
    }
    scaled = {layer for layer in layers if _scale_name(layer, infos)}
    for name, info in infos.items():
        layer, part = _split(name)
        if _BITSANDBYTES.search(name):
            raise WeightsError(
                f"{reader.path_of(name)} was saved quantised by bitsandbytes ({name}). {_ADVICE}"
            )
        if name == _MARKER or part in _NOT_WEIGHTS:
            if name != _MARKER and f"{layer}.weight" not in infos:
                raise WeightsError(
                    f"{reader.path_of(name)} has {name}, and no {layer}.weight. {_ADVICE}"
                )
        elif part == "weight" and layer in layers:
            yield name, _dequantize(reader, layer, infos)
        elif scaled and info.dtype in _SCALED_TYPES:
            raise WeightsError(
                f"{reader.path_of(name)}: {name} has no scale, and other weights have one. "
                "Copy or download the file again, whole"
            )
        else:
            yield name, reader.read(name)


def _split(name: str) -> tuple[str, str]:
    layer, _, part = name.rpartition(".")
    return layer, part


def _scale_name(layer: str, infos: dict[str, TensorInfo]) -> str | None:
    return next((f"{layer}.{s}" for s in _SCALES if f"{layer}.{s}" in infos), None)


def _dequantize(reader: TensorReader, layer: str, infos: dict[str, TensorInfo]) -> torch.Tensor:
    name = f"{layer}.weight"
    info, scale_name = infos[name], _scale_name(layer, infos)
    if info.dtype not in {*_SCALED_TYPES, "U8"} and scale_name is None:
        return reader.read(name)  # a layer in full precision that has scales of activations alone
    if scale_name is None:
        raise WeightsError(
            f"{reader.path_of(name)}: {name} has no scale. Copy or download the file again, whole"
        )
    weight, scale = reader.read(name), reader.read(scale_name)
    if info.dtype == "U8":
        second = f"{layer}.{_SECOND_SCALE}"
        if second not in infos:
            raise WeightsError(
                f"{reader.path_of(name)}: {name} is in a 4-bit format without {_SECOND_SCALE}, "
                f"which klein does not read. {_ADVICE}"
            )
        is_comfy = f"{layer}.comfy_quant" in infos or _COMFY_METADATA in reader.metadata
        values = _dequantize_nvfp4(weight, scale, reader.read(second), is_comfy=is_comfy)
    else:
        values = _apply_scale(weight, scale)
    if values is None:
        raise WeightsError(
            f"{reader.path_of(name)}: {scale_name} has shape {tuple(scale.shape)}, which does not fit "
            f"the weight's {tuple(weight.shape)}. {_ADVICE}"
        )
    return values


def _apply_scale(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor | None:
    """Multiply a weight by one scale for all values, for each row, or for each block. None if the shapes do not fit."""
    if weight.ndim != 2:  # noqa: PLR2004 -- a matrix
        return weight.float() * scale.float() if scale.numel() == 1 else None
    rows, columns = weight.shape
    scale = scale.float()
    if scale.numel() == 1:
        return weight.float() * scale.reshape(())
    if scale.numel() == rows and scale.shape[0] == rows:
        return weight.float() * scale.reshape(rows, 1)
    if scale.shape == (-(-rows // _BLOCK), -(-columns // _BLOCK)):
        blocks = scale.repeat_interleave(_BLOCK, 0).repeat_interleave(_BLOCK, 1)
        return weight.float() * blocks[:rows, :columns]
    return None


def _dequantize_nvfp4(
    packed: torch.Tensor, scale: torch.Tensor, second: torch.Tensor, *, is_comfy: bool
) -> torch.Tensor | None:
    """Return the values of 4-bit floats with a scale for each 16 of a row, and one for all.

    ComfyUI and Black Forest Labs write the first of two values into the high bits, and the scales in cuBLAS' tiles
    of 128 x 4 (comfy-kitchen). NVIDIA ModelOpt and diffusers write it into the low bits, and the scales in rows.
    """
    if packed.ndim != 2 or second.numel() != 1:  # noqa: PLR2004 -- a matrix
        return None
    rows, columns = packed.shape[0], packed.shape[1] * 2
    blocks = columns // _NVFP4_BLOCK
    padded = (-(-rows // 128) * 128, -(-blocks // 4) * 4)
    is_comfy = is_comfy or (scale.shape == padded and padded != (rows, blocks))
    if columns % _NVFP4_BLOCK or scale.shape != (padded if is_comfy else (rows, blocks)):
        return None
    halves = (packed >> 4, packed & 15) if is_comfy else (packed & 15, packed >> 4)
    codes = torch.stack(halves, dim=-1).reshape(rows, columns)
    values = torch.tensor(
        [*_NVFP4_VALUES, *(-value for value in _NVFP4_VALUES)], device=packed.device
    )
    if is_comfy:
        tiles = scale.view(torch.uint8).reshape(padded[0] // 128, padded[1] // 4, 32, 4, 4)
        scale = tiles.permute(0, 3, 2, 1, 4).reshape(padded).view(scale.dtype)[:rows, :blocks]
    factors = (scale.float() * second.float().reshape(())).repeat_interleave(_NVFP4_BLOCK, dim=1)
    return values[codes.int()] * factors


def _check_comfy_formats(reader: TensorReader, infos: dict[str, TensorInfo]) -> None:
    """Refuse ComfyUI's formats that klein does not know, such as those with rotated weights."""
    layers: dict[str, object] = {}
    if text := reader.metadata.get(_COMFY_METADATA):
        try:
            layers |= json.loads(text)["layers"]
        except (ValueError, KeyError, TypeError, RecursionError) as exc:
            path = reader.path_of(next(iter(infos)))
            raise WeightsError(f"{path}: its {_COMFY_METADATA} is no JSON with layers") from exc
    for name in infos:
        if name.endswith(".comfy_quant"):
            layers[name.removesuffix(".comfy_quant")] = reader.read_json(name)
    for layer, described in layers.items():
        kind = described.get("format") if isinstance(described, dict) else None
        is_rotated = isinstance(described, dict) and any("rot" in key for key in described)
        if kind not in _COMFY_FORMATS or is_rotated:
            path = reader.path_of(next(iter(infos)))
            raise WeightsError(
                f"{path}: {layer} has ComfyUI's format {'of rotated weights' if is_rotated else kind}, "
                f"which klein does not read. {_ADVICE}"
            )
