"""Quantises the transformer's blocks with torchao: what the chip must have, and whether it came out right."""

import importlib.util
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from worker.engines.errors import UnusableSetting
from worker.engines.tuning import Quantization

_BLOCKS = ("transformer_blocks.", "single_transformer_blocks.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way to quantise."""

    name: Quantization
    make_config: Callable[[], Any]
    """torchao's configuration of it; torchao is imported by this call alone."""
    lowest_capability: tuple[int, int] | None
    """CUDA's compute capability that has the arithmetic; None: any device."""
    chips: str
    floor_db: float
    """Signal to noise below which the result counts as broken."""


def _fp8() -> Any:
    from torchao.quantization import (  # noqa: PLC0415 -- takes seconds, and few need it
        Float8DynamicActivationFloat8WeightConfig,
        PerRow,
    )

    return Float8DynamicActivationFloat8WeightConfig(
        granularity=PerRow(),
        set_inductor_config=False,  # it would turn on a search that makes the warm-up minutes longer
    )


def _nvfp4() -> Any:
    from torchao.prototype.mx_formats import (  # noqa: PLC0415 -- as above
        NVFP4DynamicActivationNVFP4WeightConfig,
    )

    has_kernel = importlib.util.find_spec("mslk") is not None
    return NVFP4DynamicActivationNVFP4WeightConfig(use_triton_kernel=has_kernel)


RECIPES = {
    Quantization.FP8: Recipe(
        name=Quantization.FP8,
        make_config=_fp8,
        lowest_capability=(8, 9),
        chips="Ada, Hopper, Blackwell",
        floor_db=15.0,
    ),
    Quantization.NVFP4: Recipe(
        name=Quantization.NVFP4,
        make_config=_nvfp4,
        lowest_capability=(10, 0),
        chips="Blackwell",
        floor_db=8.0,
    ),
}


def check_chip(recipe: Recipe, device: str, capability: tuple[int, int] | None) -> None:
    """Raise `UnusableSetting` where the chip lacks the arithmetic; no capability: not a CUDA device."""
    lowest = recipe.lowest_capability
    if lowest is None or (capability is not None and capability >= lowest):
        return
    has = "no CUDA" if capability is None else f"{capability[0]}.{capability[1]}"
    raise UnusableSetting(
        f"KLEIN_QUANTIZATION={recipe.name} needs an NVIDIA GPU of compute capability "
        f"{lowest[0]}.{lowest[1]} or newer ({recipe.chips}); this machine has {device} ({has}). "
        f"Set KLEIN_QUANTIZATION=none{_lesser(recipe, capability)}"
    )


def _lesser(recipe: Recipe, capability: tuple[int, int] | None) -> str:
    fp8 = RECIPES[Quantization.FP8].lowest_capability
    able = capability is not None and fp8 is not None and capability >= fp8
    return " or fp8" if recipe.name is Quantization.NVFP4 and able else ""


def block_linears(transformer: Any) -> dict[str, torch.nn.Linear]:
    """Give what is quantised: the linears of the repeated blocks; embedders and modulations stay."""
    return {
        name: module
        for name, module in transformer.named_modules()
        if isinstance(module, torch.nn.Linear) and name.startswith(_BLOCKS)
    }


def quantize(transformer: Any, recipe: Recipe) -> None:
    """Exchange the weights of the block linears for quantised ones, where they lie."""
    chosen = set(map(id, block_linears(transformer).values()))
    _quantize(transformer, recipe, lambda module, _name: id(module) in chosen)


def _quantize(model: Any, recipe: Recipe, is_chosen: Callable[[Any, str], bool]) -> None:
    logging.getLogger("torchao").setLevel(logging.ERROR)
    from torchao.quantization import quantize_  # noqa: PLC0415 -- as above

    quantize_(model, recipe.make_config(), filter_fn=is_chosen)


def quantised_weight(weight: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Give the quantised form of one linear's weight."""
    rows, columns = weight.shape
    holder = torch.nn.Linear(columns, rows, bias=False, device="meta")
    holder.weight = torch.nn.Parameter(weight, requires_grad=False)
    _quantize(holder, recipe, lambda _module, _name: True)
    return holder.weight


def signal_to_noise_db(exact: torch.Tensor, quantised: torch.Tensor) -> float:
    """Tell how far the quantised output lies from the exact one; infinite where they are equal."""
    exact, quantised = exact.double(), quantised.double()
    noise = float((exact - quantised).square().mean())
    return math.inf if noise == 0 else 10 * math.log10(float(exact.square().mean()) / noise)


def judge(recipe: Recipe, exact: torch.Tensor, quantised: torch.Tensor) -> float:
    """Give the signal to noise in dB, or raise `UnusableSetting` for a result that is broken."""
    if not bool(torch.isfinite(quantised).all()):
        raise _broken(recipe, "gives numbers that are not finite")
    if bool(quantised.min() == quantised.max()):
        raise _broken(recipe, "gives one flat value")
    found = signal_to_noise_db(exact, quantised)
    if found < recipe.floor_db:
        raise _broken(
            recipe, f"is {found:.1f} dB from the exact model, {recipe.floor_db:.0f} dB are needed"
        )
    return found


def _broken(recipe: Recipe, what: str) -> UnusableSetting:
    return UnusableSetting(
        f"KLEIN_QUANTIZATION={recipe.name}: on this machine the quantised model {what}. "
        "Set KLEIN_QUANTIZATION=none"
    )
