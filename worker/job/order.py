"""Translates a prediction into the order of the engine. Does no I/O."""

from collections.abc import Mapping
from types import MappingProxyType

from app.predictions.catalog import parameters_of
from app.predictions.prediction import Prediction
from worker.engines import Lora, Order


def order_of(
    prediction: Prediction,
    reference_files: tuple[bytes, ...],
    lora_files: Mapping[str, str] = MappingProxyType({}),
    mask_file: bytes = b"",
) -> Order:
    """Build the order of a prediction. `reference_files` holds the bytes of its reference images, `mask_file` of its mask."""
    parameters = parameters_of(prediction)
    return Order(
        prompt=prediction.prompt,
        width=parameters.width,
        height=parameters.height,
        steps=parameters.steps,
        guidance=parameters.guidance,
        seeds=parameters.seeds,
        reference_files=reference_files,
        mask_file=mask_file,
        strength=parameters.strength,
        negative_prompt=parameters.negative_prompt,
        loras=tuple(
            Lora(path=lora.path, scale=lora.scale, file=lora_files.get(lora.key, lora.key))
            for lora in parameters.loras
        ),
        previews=parameters.previews,
    )
