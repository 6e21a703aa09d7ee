"""Muon: momentum, orthogonalised, for the matrices inside a network; AdamW takes the rest."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_MATRIX_DIMS = 2


def orthogonalise(stack: Tensor, precision: torch.dtype, steps: int = 5) -> Tensor:
    """Move each matrix of a stack `[n, rows, columns]` towards the nearest orthogonal one.

    Newton-Schulz iteration of order five, after Keller Jordan's Muon.
    """
    a, b, c = _COEFFICIENTS
    x = stack.to(precision)
    tall = x.size(-2) > x.size(-1)
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    whole: Tensor = (x.mT if tall else x).to(stack.dtype)
    return whole


class Muon(Optimizer):
    """Orthogonalised Nesterov momentum over parameters given with their row splits.

    A fused projection holds several matrices on top of each other; each is orthogonalised alone.
    """

    def __init__(
        self,
        params: Iterable[tuple[nn.Parameter, tuple[int, ...]]],
        *,
        lr: float,
        precision: torch.dtype,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        pairs = list(params)
        self._precision = precision
        self._splits = {id(param): rows for param, rows in pairs}
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__([param for param, _ in pairs], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # returns no loss
        """Take one step; a closure is not called."""
        del closure
        for group in self.param_groups:
            self._step_group(group)

    def _step_group(self, group: dict[str, Any]) -> None:
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for param in group["params"]:
            if param.grad is None:
                continue
            state = self.state[param]
            if not state:
                state["momentum"] = torch.zeros_like(param)
            state["momentum"].lerp_(param.grad, 1 - group["momentum"])
            update = param.grad.lerp(state["momentum"], group["momentum"])
            param.mul_(1 - group["lr"] * group["weight_decay"])
            rows = self._splits[id(param)]
            flat = update.reshape(len(update), -1)
            weights = param.view(len(param), -1) if param.is_contiguous() else None
            targets = weights if weights is not None else param
            parts = flat.split(list(rows)) if rows else (flat,)
            ends = targets.split(list(rows)) if rows else (targets,)
            for part, end in zip(parts, ends, strict=True):
                by_shape[part.shape].append((part, end))
        for shape, pairs in by_shape.items():
            scale = max(1.0, shape[0] / shape[1]) ** 0.5 * group["lr"]
            moved = orthogonalise(torch.stack([part for part, _ in pairs]), self._precision)
            for (_, end), step in zip(pairs, moved, strict=True):
                end.sub_(step.reshape(end.shape), alpha=scale)


def fused_rows(name: str, param: nn.Parameter) -> tuple[int, ...]:
    """Give the row counts of the matrices that a FLUX.2 projection fuses, or nothing."""
    rows, columns = param.shape[0], param[0].numel()
    if name.endswith("to_qkv_mlp_proj.weight"):
        gate = (rows - 3 * columns) // 2
        return (columns, columns, columns, gate, gate)
    if name.endswith(("linear_in.weight", "linear_1.weight")) and rows > columns:
        return (rows // 2, rows // 2)
    return ()


def optimisers(
    modules: Iterable[nn.Module],
    *,
    inside: Callable[[str], bool],
    muon_lr: float,
    adam_lr: float,
    precision: torch.dtype,
) -> tuple[Optimizer, Optimizer]:
    """Split the parameters between Muon (matrices whose name is `inside`) and AdamW (the rest)."""
    matrices, rest = [], []
    for module in modules:
        for name, param in module.named_parameters():
            if not param.requires_grad:
                continue
            if param.ndim >= _MATRIX_DIMS and inside(name):
                matrices.append((param, fused_rows(name, param)))
            else:
                rest.append(param)
    return Muon(matrices, lr=muon_lr, precision=precision), AdamW(
        rest, lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.0
    )
