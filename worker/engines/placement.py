"""Chooses which components of a pipeline stay on the device, by its free memory."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from worker.engines.decode_memory import DECODE_BYTES_PER_MEGAPIXEL
from worker.engines.errors import UnusableSetting
from worker.engines.tuning import Quantization

_GB = 1e9
# Activations for one megapixel. Larger images are decoded in tiles if they do not fit.
_DECODE_BYTES = DECODE_BYTES_PER_MEGAPIXEL
_DENOISE_BYTES = int(1.5 * _GB)
_ENCODE_BYTES = int(0.5 * _GB)
_QUANTIZED_SIZE = {Quantization.NONE: 1.0, Quantization.FP8: 0.53, Quantization.NVFP4: 0.32}
"""Size of the quantised transformer as a fraction of its bfloat16 size."""


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

    @property
    def total(self) -> int:
        """Return the size of all components in bytes."""
        return self.text_encoder + self.transformer + self.vae


def component_sizes(pipe: Any, quantization: Quantization) -> ComponentSizes:
    """Return the sizes that the components will have after quantisation."""
    transformer = module_bytes(pipe.transformer) * _QUANTIZED_SIZE[quantization]
    return ComponentSizes(
        text_encoder=module_bytes(pipe.text_encoder),
        transformer=int(transformer),
        vae=module_bytes(pipe.vae),
    )


def required_bytes(placement: Placement, sizes: ComponentSizes) -> int:
    """Return the peak memory in bytes of a placement for images of one megapixel."""
    match placement:
        case Placement.RESIDENT:
            return sizes.total + _DECODE_BYTES
        case Placement.TEXT_ENCODER_OFFLOAD:
            return max(
                sizes.total + _ENCODE_BYTES,
                sizes.transformer + sizes.vae + _DECODE_BYTES,
            )
        case Placement.MODEL_OFFLOAD:
            return max(
                sizes.text_encoder + _ENCODE_BYTES,
                sizes.transformer + _DENOISE_BYTES,
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
        "one component on it at a time. Stop other programs that use the device, or set KLEIN_QUANTIZATION=fp8"
    )


def module_bytes(module: Any) -> int:
    """Return the size of a module's parameters and buffers in bytes."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))
