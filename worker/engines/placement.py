"""Chooses which components of a pipeline stay on the device, by its free memory."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from worker.engines.decode_memory import DECODE_BYTES_PER_MEGAPIXEL
from worker.engines.errors import UnusableSetting
from worker.engines.quantization import block_linears, repeated_blocks
from worker.engines.tuning import Quantization

_GB = 1e9
# Activations for one megapixel. Larger images are decoded in tiles if they do not fit.
_DECODE_BYTES = DECODE_BYTES_PER_MEGAPIXEL
_DENOISE_BYTES = int(1.5 * _GB)
_ENCODE_BYTES = int(0.5 * _GB)
_QUANTIZED_SIZE = {
    Quantization.NONE: 1.0,
    Quantization.FP8: 0.5,
    Quantization.NVFP4: 0.29,  # 4 bits, and a scale of 8 bits for 16 weights
    Quantization.INT8: 0.5,
    Quantization.INT8_WEIGHT_ONLY: 0.5,
}
"""Size of a quantised weight as a fraction of its bfloat16 size."""


class Placement(StrEnum):
    """Names the components that stay on the device."""

    RESIDENT = "resident"
    """All of them."""
    TEXT_ENCODER_OFFLOAD = "text-encoder-offload"
    """All but the text encoder, which moves to the device for each new prompt."""
    MODEL_OFFLOAD = "model-offload"
    """None. Each component moves to the device for its turn, as in diffusers' `enable_model_cpu_offload`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentSizes:
    """Gives the size of the weights of each component in bytes."""

    text_encoder: int
    transformer: int
    vae: int
    block: int = 0
    """Size of the largest block that is quantised, of which one at a time lies on the device unquantised. 0 means none is."""

    @property
    def advice(self) -> str:
        """Return what an operator can do if the sizes do not fit."""
        advice = "Stop other programs that use the device, or "
        if self.block:
            return f"{advice}use a device with more memory"
        return f"{advice}set KLEIN_QUANTIZATION=fp8, or int8 on a GPU older than Ada"

    @property
    def total(self) -> int:
        """Return the size of all components in bytes."""
        return self.text_encoder + self.transformer + self.vae


def component_sizes(
    pipe: Any, quantization: Quantization, text_encoder: Quantization = Quantization.NONE
) -> ComponentSizes:
    """Return the sizes that the components will have after quantisation."""
    blocks = [
        block
        for module, recipe in ((pipe.transformer, quantization), (pipe.text_encoder, text_encoder))
        if recipe is not Quantization.NONE
        for block in repeated_blocks(module)
    ]
    return ComponentSizes(
        text_encoder=_quantized_bytes(pipe.text_encoder, text_encoder),
        transformer=_quantized_bytes(pipe.transformer, quantization),
        vae=module_bytes(pipe.vae),
        block=max(map(module_bytes, blocks), default=0),
    )


def _quantized_bytes(module: Any, quantization: Quantization) -> int:
    linears = sum(module_bytes(linear) for linear in block_linears(module).values())
    return module_bytes(module) - int(linears * (1 - _QUANTIZED_SIZE[quantization]))


def required_bytes(placement: Placement, sizes: ComponentSizes) -> int:
    """Return the peak memory in bytes of a placement: at start, if blocks are quantised, and for images of one megapixel."""
    denoising = sizes.transformer + sizes.block + _DENOISE_BYTES
    match placement:
        case Placement.RESIDENT:
            return max(sizes.total + _DECODE_BYTES, sizes.text_encoder + sizes.vae + denoising)
        case Placement.TEXT_ENCODER_OFFLOAD:
            return max(
                sizes.total + _ENCODE_BYTES,
                sizes.transformer + sizes.vae + _DECODE_BYTES,
                sizes.vae + denoising,
            )
        case Placement.MODEL_OFFLOAD:
            return max(
                sizes.text_encoder + _ENCODE_BYTES,
                denoising,
                sizes.vae + _DECODE_BYTES,
            )


def choose_placement(free_bytes: int, sizes: ComponentSizes) -> Placement:
    """Return the fastest placement that fits. Raises `UnusableSetting` if none does."""
    for placement in Placement:  # from the fastest to the smallest
        if required_bytes(placement, sizes) <= free_bytes:
            return placement
    needed = required_bytes(Placement.MODEL_OFFLOAD, sizes)
    raise UnusableSetting(
        f"the device has {free_bytes / _GB:.1f} GB free, but this model needs {needed / _GB:.1f} GB even with "
        f"one component on it at a time. {sizes.advice}"
    )


def module_bytes(module: Any) -> int:
    """Return the size of a module's parameters and buffers in bytes."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
