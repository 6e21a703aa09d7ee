"""Reads one LoRA file, in the key format of any trainer, into weight changes for each linear layer.

diffusers converts the keys and peft reads the ranks, both on a copy of the transformer without weights
(meta device). The serving model never sees a file of which any part would be ignored.
"""

import json
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

MAX_SCALING = 1e6  # trainers write about 1
_ADAPTER = "lora"
_METADATA = "lora_adapter_metadata"  # diffusers/loaders/lora_base.py
_PREFIXES = re.compile(r"^(base_model\.model\.|diffusion_model\.|transformer\.)")
_BFL_PREFIXES = ("double_blocks.", "single_blocks.", "sformer_blocks.")
_KOHYA_PREFIX = "lora_unet_"
_LYCORIS_PREFIX = "lycoris_"
_FUSED_PROJECTIONS = {
    "to_qkv": ("to_q", "to_k", "to_v"),
    "to_added_qkv": ("add_q_proj", "add_k_proj", "add_v_proj"),
}
"""Layers that some trainers fuse, and their parts in diffusers' transformer."""


class IncompatibleLora(Exception):
    """The file has content that this model cannot apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightDelta:
    """Holds the change of one weight as two factors.

    A LoRA adds scaling * (left @ right), where left is the up matrix (rows x rank) and right the down matrix
    (rank x columns). A LoKr adds scaling * kron(left, right).
    """

    left: torch.Tensor
    right: torch.Tensor
    scaling: float
    is_kronecker: bool
    qkv_index: int | None = None
    """For a fused query, key and value layer: which third of the rows belongs to this weight."""

    def add_to(self, weight: torch.Tensor, scale: float) -> None:
        """Add the change, times `scale`, to a float32 weight in place, on the weight's device."""
        left, right = (t.to(weight.device, torch.float32) for t in (self.left, self.right))
        factor = scale * self.scaling
        if self.is_kronecker:
            product = torch.kron(left, right)
            weight.add_(self._select_rows(product).reshape(weight.shape), alpha=factor)
        else:
            weight.addmm_(self._select_rows(left), right, alpha=factor)

    def _select_rows(self, matrix: torch.Tensor) -> torch.Tensor:
        return matrix if self.qkv_index is None else matrix.chunk(3)[self.qkv_index]


def read_lora(file: Path, pipe: Any) -> dict[str, WeightDelta]:
    """Return the weight changes by the name of the transformer's linear layer.

    Raises `IncompatibleLora`, and any exception of safetensors, diffusers or peft for a damaged file.
    """
    state_dict, metadata = _read_safetensors(file)
    if any("dora_scale" in key for key in state_dict):
        raise IncompatibleLora("it is a DoRA, whose magnitudes are not supported")
    if any(key.endswith(".bias") for key in state_dict):
        raise IncompatibleLora("it has biases, which are not supported")
    if any(not bool(torch.isfinite(tensor).all()) for tensor in state_dict.values()):
        raise IncompatibleLora("it has values that are not finite")
    state_dict = _normalize_keys(state_dict)
    unused = dict(
        state_dict
    )  # the kohya converter removes what it uses, and only warns about the rest
    converted = pipe.lora_state_dict(unused)
    if any(key.startswith(_KOHYA_PREFIX) for key in state_dict) and unused:
        raise IncompatibleLora(f"{len(unused)} of its weights match no layer of the model")
    with torch.device("meta"):
        transformer = type(pipe.transformer).from_config(pipe.transformer.config)
    with _suppress_warnings():
        pipe.load_lora_into_transformer(
            converted,
            transformer=transformer,
            adapter_name=_ADAPTER,
            metadata=metadata,
            low_cpu_mem_usage=True,
        )
    attached = sum(f".{_ADAPTER}." in f"{name}." for name, _ in transformer.named_parameters())
    if not converted or attached != len(converted):
        raise IncompatibleLora("some of its weights match no layer of the model, or are missing")
    weights = {key.removeprefix("transformer."): tensor for key, tensor in converted.items()}
    return dict(_iter_deltas(transformer, weights))


def _read_safetensors(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
    with safe_open(file, framework="pt") as tensors:
        state_dict = {key: tensors.get_tensor(key) for key in tensors.keys()}  # noqa: SIM118 -- no mapping
        metadata = (tensors.metadata() or {}).get(_METADATA)
    return state_dict, json.loads(metadata) if metadata else None


def _normalize_keys(state_dict: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give the keys the prefix that diffusers expects for their format.

    Also multiplies alphas into the up matrices, because diffusers drops or rejects alphas in these formats.
    """
    if any(key.startswith((_KOHYA_PREFIX, _LYCORIS_PREFIX)) for key in state_dict):
        return state_dict
    unprefixed = {_PREFIXES.sub("", key): tensor for key, tensor in state_dict.items()}
    is_bfl = any(key.startswith(_BFL_PREFIXES) for key in unprefixed)
    prefix = "diffusion_model" if is_bfl else "transformer"
    state_dict = {f"{prefix}.{key}": tensor for key, tensor in unprefixed.items()}
    if any(".lokr_" in key for key in state_dict):
        return state_dict  # diffusers' LoKr converters apply the alphas themselves
    renamed = {
        re.sub(r"\.lora[._]down\.", ".lora_A.", re.sub(r"\.lora[._]up\.", ".lora_B.", key)): tensor
        for key, tensor in state_dict.items()
    }
    for key in [key for key in renamed if key.endswith(".alpha")]:
        alpha = float(renamed.pop(key))
        layer = key.removesuffix(".alpha")
        rank = renamed[f"{layer}.lora_A.weight"].shape[0]
        renamed[f"{layer}.lora_B.weight"] = renamed[f"{layer}.lora_B.weight"] * (alpha / rank)
    return renamed


def _iter_deltas(
    transformer: Any, weights: dict[str, torch.Tensor]
) -> Iterator[tuple[str, WeightDelta]]:
    for name, layer in transformer.named_modules():
        if _ADAPTER in getattr(layer, "lora_A", ()):
            left, right = weights[f"{name}.lora_B.weight"], weights[f"{name}.lora_A.weight"]
            is_kronecker = False
        elif hasattr(layer, "lokr_w1") and _ADAPTER in layer.scaling:
            left = _lokr_factor(weights, f"{name}.lokr_w1")
            right = _lokr_factor(weights, f"{name}.lokr_w2")
            is_kronecker = True
        else:
            continue
        scaling = float(layer.scaling[_ADAPTER])
        if not abs(scaling) <= MAX_SCALING:  # also true for NaN
            raise IncompatibleLora("its alpha is out of range")
        block, _, last = name.rpartition(".")
        for index, target in enumerate(_FUSED_PROJECTIONS.get(last, (last,))):
            yield (
                f"{block}.{target}" if block else target,
                WeightDelta(
                    left=left,
                    right=right,
                    scaling=scaling,
                    is_kronecker=is_kronecker,
                    qkv_index=index if last in _FUSED_PROJECTIONS else None,
                ),
            )


def _lokr_factor(weights: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """Return a LoKr factor, which may be stored as a product of two smaller matrices."""
    matrix = weights.get(name)
    return matrix if matrix is not None else weights[f"{name}_a"] @ weights[f"{name}_b"]


@contextmanager
def _suppress_warnings() -> Iterator[None]:
    """Suppress peft's warnings about mismatches, which `read_lora` raises as errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
