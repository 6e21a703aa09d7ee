"""Quantises the transformer blocks with torchao, and checks the result against the unquantised model."""

import importlib.util
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from worker.engines.errors import UnusableSetting
from worker.engines.tuning import Quantization

_BLOCK_PREFIXES = ("transformer_blocks.", "single_transformer_blocks.")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationRecipe:
    """Describes one quantisation format and what it requires."""

    name: Quantization
    make_config: Callable[[], Any]
    """Returns the configuration for torchao, which is imported only by this call."""
    min_capability: tuple[int, int] | None
    """CUDA compute capability with hardware support. None: any device."""
    gpu_generations: str
    min_snr_db: float
    """A result with a lower signal-to-noise ratio counts as broken."""


def _fp8_config() -> Any:
    from torchao.quantization import (  # noqa: PLC0415 -- takes seconds, and is rarely needed
        Float8DynamicActivationFloat8WeightConfig,
        PerRow,
    )

    return Float8DynamicActivationFloat8WeightConfig(
        granularity=PerRow(),
        set_inductor_config=False,  # it enables an autotuning that adds minutes to the warm-up
    )


def _nvfp4_config() -> Any:
    from torchao.prototype.mx_formats import (  # noqa: PLC0415 -- as above
        NVFP4DynamicActivationNVFP4WeightConfig,
    )

    has_kernel = importlib.util.find_spec("mslk") is not None
    return NVFP4DynamicActivationNVFP4WeightConfig(use_triton_kernel=has_kernel)


RECIPES = {
    Quantization.FP8: QuantizationRecipe(
        name=Quantization.FP8,
        make_config=_fp8_config,
        min_capability=(8, 9),
        gpu_generations="Ada, Hopper, Blackwell",
        min_snr_db=15.0,
    ),
    Quantization.NVFP4: QuantizationRecipe(
        name=Quantization.NVFP4,
        make_config=_nvfp4_config,
        min_capability=(10, 0),
        gpu_generations="Blackwell",
        min_snr_db=8.0,
    ),
}


def check_capability(
    recipe: QuantizationRecipe, device_name: str, capability: tuple[int, int] | None
) -> None:
    """Raise `UnusableSetting` if the device does not support the format. A CPU has no capability."""
    minimum = recipe.min_capability
    if minimum is None or (capability is not None and capability >= minimum):
        return
    actual = "no CUDA" if capability is None else f"{capability[0]}.{capability[1]}"
    raise UnusableSetting(
        f"KLEIN_QUANTIZATION={recipe.name} needs an NVIDIA GPU of compute capability "
        f"{minimum[0]}.{minimum[1]} or newer ({recipe.gpu_generations}); this machine has {device_name} ({actual}). "
        f"Set KLEIN_QUANTIZATION=none{_fp8_alternative(recipe, capability)}"
    )


def _fp8_alternative(recipe: QuantizationRecipe, capability: tuple[int, int] | None) -> str:
    minimum = RECIPES[Quantization.FP8].min_capability
    supports_fp8 = capability is not None and minimum is not None and capability >= minimum
    return " or fp8" if recipe.name is Quantization.NVFP4 and supports_fp8 else ""


def block_linears(transformer: Any) -> dict[str, torch.nn.Linear]:
    """Return the linear layers to quantise: those of the repeated blocks, without embedders and modulations."""
    return {
        name: module
        for name, module in transformer.named_modules()
        if isinstance(module, torch.nn.Linear) and name.startswith(_BLOCK_PREFIXES)
    }


def quantize(transformer: Any, recipe: QuantizationRecipe) -> None:
    """Replace the weights of the block linears with quantised ones, in place and on their device."""
    selected = set(map(id, block_linears(transformer).values()))
    _quantize(transformer, recipe, lambda module, _name: id(module) in selected)


def _quantize(
    model: Any, recipe: QuantizationRecipe, is_selected: Callable[[Any, str], bool]
) -> None:
    logging.getLogger("torchao").setLevel(logging.ERROR)
    from torchao.quantization import quantize_  # noqa: PLC0415 -- as above

    quantize_(model, recipe.make_config(), filter_fn=is_selected)


def quantize_weight(weight: torch.Tensor, recipe: QuantizationRecipe) -> torch.Tensor:
    """Return the quantised form of one linear layer's weight."""
    rows, columns = weight.shape
    linear = torch.nn.Linear(columns, rows, bias=False, device="meta")
    linear.weight = torch.nn.Parameter(weight, requires_grad=False)
    _quantize(linear, recipe, lambda _module, _name: True)
    return linear.weight


def signal_to_noise_db(reference: torch.Tensor, output: torch.Tensor) -> float:
    """Return the signal-to-noise ratio of an output in dB. Infinite if it equals the reference."""
    reference, output = reference.double(), output.double()
    noise = float((reference - output).square().mean())
    return math.inf if noise == 0 else 10 * math.log10(float(reference.square().mean()) / noise)


def check_quantized_output(
    recipe: QuantizationRecipe, reference: torch.Tensor, output: torch.Tensor
) -> float:
    """Return the signal-to-noise ratio in dB. Raises `UnusableSetting` if the output is broken."""
    if not bool(torch.isfinite(output).all()):
        raise _broken(recipe, "gives values that are not finite")
    if bool(output.min() == output.max()):
        raise _broken(recipe, "gives one flat value")
    snr_db = signal_to_noise_db(reference, output)
    if snr_db < recipe.min_snr_db:
        raise _broken(
            recipe,
            f"has a signal-to-noise ratio of {snr_db:.1f} dB against the unquantised model, "
            f"and {recipe.min_snr_db:.0f} dB are needed",
        )
    return snr_db


def _broken(recipe: QuantizationRecipe, problem: str) -> UnusableSetting:
    return UnusableSetting(
        f"KLEIN_QUANTIZATION={recipe.name}: on this machine the quantised model {problem}. "
        "Set KLEIN_QUANTIZATION=none"
    )
