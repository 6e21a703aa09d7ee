"""Quantises a loaded model, and compares its output before and after."""

import torch

from worker.engines.device import release_cached_memory, translate_device_errors
from worker.engines.inference import generate_probe_latents
from worker.engines.model import LoadedModel
from worker.engines.quantization import (
    QuantizationRecipe,
    block_linears,
    check_quantized_output,
    quantize,
    quantize_weight,
)


class QuantizationCheck:
    """Compares the quantised model's latents with those of the unquantised model."""

    def __init__(
        self, model: LoadedModel, recipe: QuantizationRecipe, prompt: str, size: tuple[int, int]
    ) -> None:
        """Compute the reference latents. Call this before the model is quantised."""
        self.recipe = recipe
        self._model = model
        self._prompt = prompt
        self._size = size
        self._reference = self._generate()

    def run(self) -> float:
        """Return the signal-to-noise ratio in dB. Raises `UnusableSetting` if the model is broken."""
        return check_quantized_output(self.recipe, self._reference, self._generate())

    def _generate(self) -> torch.Tensor:
        return generate_probe_latents(self._model, self._prompt, self._size)


def quantize_text_encoder(model: LoadedModel, recipe: QuantizationRecipe, prompt: str) -> float:
    """Quantise the text encoder's layers one by one on the device, and return the signal-to-noise ratio in dB.

    It compares the embeddings of a prompt before and after. Raises `UnusableSetting` if the model is broken.
    """
    setting = "KLEIN_TEXT_ENCODER_QUANTIZATION"

    def encode() -> torch.Tensor:
        model.offloader.offload_all()
        model.prompt_encoder.clear_cache()
        with translate_device_errors(), model.inference():
            return model.prompt_encoder.encode(prompt).embeds.float().cpu()

    reference = encode()
    with translate_device_errors():
        model.offloader.convert_blocks(
            model.pipe.text_encoder, lambda block: quantize(block, recipe, setting)
        )
    return check_quantized_output(recipe, reference, encode(), setting)


def quantize_model(
    model: LoadedModel, recipe: QuantizationRecipe, prompt: str, size: tuple[int, int]
) -> QuantizationCheck:
    """Quantise the transformer's blocks one by one on the device, and return the check of the result.

    The caller runs the check after compilation, because that is when quantised kernels can go wrong. `size`
    is width and height in pixels of the image to compare.
    """
    check = QuantizationCheck(model, recipe, prompt, size)
    model.loras.save_unquantized(
        block_linears(model.pipe.transformer), lambda weight: quantize_weight(weight, recipe)
    )
    with translate_device_errors():
        model.offloader.convert_blocks(
            model.pipe.transformer, lambda block: quantize(block, recipe)
        )
    release_cached_memory()
    return check
