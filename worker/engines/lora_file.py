"""Reads one LoRA file, whichever trainer named its keys, into what it adds to each linear of the model.

diffusers converts the keys and peft reads the ranks, both on a skeleton of the transformer without
weights: the model that serves never sees a file that is not wholly understood.
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

SCALING_MAX = 1e6  # trainers write about 1
_ADAPTER = "lora"
_METADATA = "lora_adapter_metadata"  # diffusers/loaders/lora_base.py
_PREFIXES = re.compile(r"^(base_model\.model\.|diffusion_model\.|transformer\.)")
_BFL = ("double_blocks.", "single_blocks.", "sformer_blocks.")
_KOHYA = "lora_unet_"
_LYCORIS = "lycoris_"
_FUSED = {
    "to_qkv": ("to_q", "to_k", "to_v"),
    "to_added_qkv": ("add_q_proj", "add_k_proj", "add_v_proj"),
}


class NotUnderstood(Exception):
    """The file holds something that would not be drawn with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What a LoRA adds to one weight: (up @ down) or the Kronecker product, times scaling."""

    left: torch.Tensor
    right: torch.Tensor
    scaling: float
    is_kronecker: bool
    third: int | None = None
    """Of a fused query, key and value: which third of the rows is this weight's."""

    def add_to(self, weight: torch.Tensor, scale: float) -> None:
        """Add it, times `scale`, to a float32 weight where that lies."""
        left, right = (t.to(weight.device, torch.float32) for t in (self.left, self.right))
        factor = scale * self.scaling
        if self.is_kronecker:
            added = torch.kron(left, right)
            weight.add_(self._rows(added).reshape(weight.shape), alpha=factor)
        else:
            weight.addmm_(self._rows(left), right, alpha=factor)

    def _rows(self, whole: torch.Tensor) -> torch.Tensor:
        return whole if self.third is None else whole.chunk(3)[self.third]

    @property
    def size_bytes(self) -> int:
        """What it takes of memory."""
        return self.left.nbytes + self.right.nbytes


def read_lora(file: Path, pipe: Any) -> dict[str, Delta]:
    """Give the deltas by the name of the linear. Raises `NotUnderstood`, and whatever loaders raise."""
    state, metadata = _read(file)
    if any("dora_scale" in key for key in state):
        raise NotUnderstood("a DoRA; its magnitudes would be lost")
    if any(key.endswith(".bias") for key in state):
        raise NotUnderstood("biases, which would be lost")
    if any(not bool(torch.isfinite(tensor).all()) for tensor in state.values()):
        raise NotUnderstood("numbers that are not finite")
    state = _named_as_diffusers_reads(state)
    left = dict(state)  # the kohya converter takes out what it uses and merely warns of the rest
    converted = pipe.lora_state_dict(left)
    if any(key.startswith(_KOHYA) for key in state) and left:
        raise NotUnderstood(f"{len(left)} weights that have no place in it")
    with torch.device("meta"):
        skeleton = type(pipe.transformer).from_config(pipe.transformer.config)
    with _unwarned():
        pipe.load_lora_into_transformer(
            converted,
            transformer=skeleton,
            adapter_name=_ADAPTER,
            metadata=metadata,
            low_cpu_mem_usage=True,
        )
    attached = sum(f".{_ADAPTER}." in f"{name}." for name, _ in skeleton.named_parameters())
    if not converted or attached != len(converted):
        raise NotUnderstood("weights that have no place in it, or lacks some")
    weights = {key.removeprefix("transformer."): tensor for key, tensor in converted.items()}
    return dict(_deltas(skeleton, weights))


def _read(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any] | None]:
    with safe_open(file, framework="pt") as opened:
        state = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 -- no mapping
        described = (opened.metadata() or {}).get(_METADATA)
    return state, json.loads(described) if described else None


def _named_as_diffusers_reads(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give the prefix that goes with the names, and bake in alphas that diffusers would drop or refuse."""
    if any(key.startswith((_KOHYA, _LYCORIS)) for key in state):
        return state
    bare = {_PREFIXES.sub("", key): tensor for key, tensor in state.items()}
    prefix = "diffusion_model" if any(key.startswith(_BFL) for key in bare) else "transformer"
    state = {f"{prefix}.{key}": tensor for key, tensor in bare.items()}
    if any(".lokr_" in key for key in state):
        return state  # its converters bake alphas themselves
    named = {
        re.sub(r"\.lora[._]down\.", ".lora_A.", re.sub(r"\.lora[._]up\.", ".lora_B.", key)): tensor
        for key, tensor in state.items()
    }
    for key in [key for key in named if key.endswith(".alpha")]:
        alpha = float(named.pop(key))
        module = key.removesuffix(".alpha")
        rank = named[f"{module}.lora_A.weight"].shape[0]
        named[f"{module}.lora_B.weight"] = named[f"{module}.lora_B.weight"] * (alpha / rank)
    return named


def _deltas(skeleton: Any, weights: dict[str, torch.Tensor]) -> Iterator[tuple[str, Delta]]:
    for name, layer in skeleton.named_modules():
        if _ADAPTER in getattr(layer, "lora_A", ()):
            left, right = weights[f"{name}.lora_B.weight"], weights[f"{name}.lora_A.weight"]
            is_kronecker = False
        elif hasattr(layer, "lokr_w1") and _ADAPTER in layer.scaling:
            left, right = _factor(weights, f"{name}.lokr_w1"), _factor(weights, f"{name}.lokr_w2")
            is_kronecker = True
        else:
            continue
        scaling = float(layer.scaling[_ADAPTER])
        if not abs(scaling) <= SCALING_MAX:  # nor is NaN
            raise NotUnderstood("a strength that no trainer writes")
        block, _, last = name.rpartition(".")
        for third, target in enumerate(_FUSED.get(last, (last,))):
            yield (
                f"{block}.{target}" if block else target,
                Delta(
                    left=left,
                    right=right,
                    scaling=scaling,
                    is_kronecker=is_kronecker,
                    third=third if last in _FUSED else None,
                ),
            )


def _factor(weights: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    whole = weights.get(name)
    return whole if whole is not None else weights[f"{name}_a"] @ weights[f"{name}_b"]


@contextmanager
def _unwarned() -> Iterator[None]:
    """Silence peft: it warns of what is checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
