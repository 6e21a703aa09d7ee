"""Reads one LoRA file, in the key format of any trainer, into weight changes for each linear layer.

`app.loras` decides from the file's header what it changes, and refuses a file of which any part would be ignored.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from app.loras.errors import IncompatibleLora
from app.loras.header import read_header
from app.loras.module_names import ModuleNames
from app.loras.names import read_adapter_config
from app.loras.parts import Part
from app.loras.plan import Change, Kind, plan_changes
from app.loras.strength import read_config

_LOKR_FACTORS = (
    (Part.LOKR_W1, Part.LOKR_W1_A, Part.LOKR_W1_B),
    (Part.LOKR_W2, Part.LOKR_W2_A, Part.LOKR_W2_B),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightDelta:
    """Holds the change of one weight: `scaling` times a matrix that is computed from factors.

    LoRA: up @ down. LoKr: kron(w1, w2). LoHa: (w1_a @ w1_b) * (w2_a @ w2_b). Full: the matrix itself.
    """

    kind: Kind
    factors: tuple[torch.Tensor, ...]
    scaling: float
    index: int = 0
    parts: int = 1
    """For a layer that is several layers in diffusers: this weight has the rows of part `index` of `parts`."""
    has_swapped_halves: bool = False
    """Whether the halves of the rows are in the other order than in diffusers."""

    @property
    def size_bytes(self) -> int:
        """Return the memory that the factors take."""
        return sum(factor.nbytes for factor in self.factors)

    def add_to(self, weight: torch.Tensor, scale: float) -> None:
        """Add the change, times `scale`, to a float32 weight in place, on the weight's device."""
        factors = [factor.to(weight.device, torch.float32) for factor in self.factors]
        alpha = scale * self.scaling
        match self.kind, factors:
            case Kind.LORA, [up, down]:
                weight.addmm_(self._rows(up), down, alpha=alpha)
            case Kind.LOKR, [w1, w2]:
                weight.add_(self._rows(torch.kron(w1, w2)), alpha=alpha)
            case Kind.LOHA, [w1_a, w1_b, w2_a, w2_b]:
                weight.add_((self._rows(w1_a) @ w1_b) * (self._rows(w2_a) @ w2_b), alpha=alpha)
            case _, [matrix]:
                weight.add_(self._rows(matrix), alpha=alpha)

    def _rows(self, matrix: torch.Tensor) -> torch.Tensor:
        if self.has_swapped_halves:
            return matrix.roll(len(matrix) // 2, 0)
        return matrix if self.parts == 1 else matrix.chunk(self.parts)[self.index]


Deltas = dict[str, list[WeightDelta]]
"""The changes of each linear layer, by its name in diffusers."""


def read_lora(file: Path, names: ModuleNames) -> Deltas:
    """Return the weight changes of a file. Raises `IncompatibleLora`, and any exception of safetensors or the disk."""
    header = read_header(file)
    changes = plan_changes(header, names, read_config(header.metadata, read_adapter_config(file)))
    deltas: Deltas = {}
    with safe_open(file, framework="pt") as stored:
        for change in changes:
            tensors = {
                part: _upcast(stored.get_tensor(name)) for part, name in change.tensors.items()
            }
            for layer, delta in _deltas(change, tensors):
                deltas.setdefault(layer, []).append(delta)
    return deltas


def _deltas(change: Change, tensors: dict[Part, torch.Tensor]) -> list[tuple[str, WeightDelta]]:
    alpha = tensors.pop(Part.ALPHA, None)
    scaling = change.scaling(None if alpha is None else float(alpha))
    for part, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise IncompatibleLora(
                f"it has values that are not finite: {change.tensors[part][:80]}"
            )
    layers = change.module.layers
    factors = _factors(change.kind, {p: t.flatten(1) for p, t in tensors.items()})
    return [
        (
            layer,
            WeightDelta(
                kind=change.kind,
                factors=factors,
                scaling=scaling,
                index=index,
                parts=len(layers),
                has_swapped_halves=change.module.has_swapped_halves,
            ),
        )
        for index, layer in enumerate(layers)
    ]


def _factors(kind: Kind, tensors: dict[Part, torch.Tensor]) -> tuple[torch.Tensor, ...]:
    match kind:
        case Kind.LORA:
            return tensors[Part.UP], tensors[Part.DOWN]
        case Kind.LOKR:
            return tuple(
                tensors[whole] if whole in tensors else tensors[a].float() @ tensors[b].float()
                for whole, a, b in _LOKR_FACTORS
            )
        case Kind.LOHA:
            loha = (Part.LOHA_W1_A, Part.LOHA_W1_B, Part.LOHA_W2_A, Part.LOHA_W2_B)
            return tuple(tensors[part] for part in loha)
        case Kind.FULL:
            return (tensors[Part.DIFF],)


def _upcast(tensor: torch.Tensor) -> torch.Tensor:
    """Return an fp8 tensor in bfloat16, which holds its values exactly and has arithmetic on every device."""
    return tensor.to(torch.bfloat16) if tensor.element_size() == 1 else tensor
