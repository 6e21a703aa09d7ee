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


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationRecipe:
    """Describes one quantisation format and what it requires."""

    name: Quantization
    make_config: Callable[[], Any]
    """Returns the configuration for torchao, which is imported only by this call."""
    min_capability: tuple[int, int] | None
    """CUDA compute capability with hardware support. None means any device."""
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


def _int8_config() -> Any:
    from torchao.quantization import (  # noqa: PLC0415 -- as above
        Int8DynamicActivationInt8WeightConfig,
    )

    return Int8DynamicActivationInt8WeightConfig(set_inductor_config=False)


def _int8_weight_only_config() -> Any:
    from torchao.quantization import Int8WeightOnlyConfig  # noqa: PLC0415 -- as above

    return Int8WeightOnlyConfig(set_inductor_config=False)


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
    Quantization.INT8: QuantizationRecipe(
        name=Quantization.INT8,
        make_config=_int8_config,
        min_capability=None,
        gpu_generations="any",
        min_snr_db=15.0,
    ),
    Quantization.INT8_WEIGHT_ONLY: QuantizationRecipe(
        name=Quantization.INT8_WEIGHT_ONLY,
        make_config=_int8_weight_only_config,
        min_capability=None,
        gpu_generations="any",
        min_snr_db=15.0,
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


def repeated_blocks(model: Any) -> list[Any]:
    """Return the blocks of a transformer or text encoder, whose linear layers are quantised. Embedders and modulations are not."""
    names = ("transformer_blocks", "single_transformer_blocks", "layers")
    return [block for name in names for block in getattr(model, name, ())]


def block_linears(model: Any) -> dict[str, torch.nn.Linear]:
    """Return the linear layers to quantise by their names."""
    parts = {id(part) for block in repeated_blocks(model) for part in block.modules()}
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and id(module) in parts
    }


def quantize(block: Any, recipe: QuantizationRecipe, setting: str = "KLEIN_QUANTIZATION") -> None:
    """Replace the weights of a block's linear layers with quantised ones, in place and on their device.

    Raises `UnusableSetting` if torchao cannot do that on this machine.
    """
    try:
        _quantize(block, recipe, lambda module, _name: isinstance(module, torch.nn.Linear))
    except (torch.OutOfMemoryError, torch.AcceleratorError, MemoryError):
        raise
    except Exception as exc:  # torchao raises any type for what a machine or version lacks
        reason = str(exc).strip().partition("\n")[0] or type(exc).__name__
        raise UnusableSetting(
            f"{setting}={recipe.name}: torchao cannot quantise on this machine ({reason}). "
            f"Set {setting}=none"
        ) from exc


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
    recipe: QuantizationRecipe,
    reference: torch.Tensor,
    output: torch.Tensor,
    setting: str = "KLEIN_QUANTIZATION",
) -> float:
    """Return the signal-to-noise ratio in dB. Raises `UnusableSetting` if the output is broken."""
    chosen = f"{setting}={recipe.name}"
    if not bool(torch.isfinite(output).all()):
        raise _broken(chosen, "gives values that are not finite")
    if bool(output.min() == output.max()):
        raise _broken(chosen, "gives one flat value")
    snr_db = signal_to_noise_db(reference, output)
    if snr_db < recipe.min_snr_db:
        raise _broken(
            chosen,
            f"has a signal-to-noise ratio of {snr_db:.1f} dB against the unquantised model, "
            f"and {recipe.min_snr_db:.0f} dB are needed",
        )
    return snr_db


def _broken(chosen: str, problem: str) -> UnusableSetting:
    return UnusableSetting(
        f"{chosen}: on this machine the quantised model {problem}. "
        f"Set {chosen.partition('=')[0]}=none"
    )
