"""Quantises a loaded model, and compares its output before and after."""

import torch

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


def quantize_model(
    model: LoadedModel, recipe: QuantizationRecipe, prompt: str, size: tuple[int, int]
) -> QuantizationCheck:
    """Quantise the transformer's blocks, and return the check of the result.

    The caller runs the check after compilation, because that is when quantised kernels can go wrong. `size`
    is width and height in pixels of the image to compare.
    """
    check = QuantizationCheck(model, recipe, prompt, size)
    transformer = model.pipe.transformer
    model.loras.save_unquantized(
        block_linears(transformer), lambda weight: quantize_weight(weight, recipe)
    )
    quantize(transformer, recipe)
    return check
