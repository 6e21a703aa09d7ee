"""One call of the pipeline: what it is asked, what it tells on its way, and what it gives."""

from collections.abc import Sequence
from typing import Any

import torch

from worker.engines import OnPreview
from worker.engines.manifest import Manifest
from worker.engines.preparation import Prepared
from worker.engines.previews import can_preview, draw_preview
from worker.engines.steps import Steps
from worker.engines.text_encoder import Embedded


def draw_pixels(
    pipe: Any,
    prepared: Prepared,
    seeds: Sequence[int],
    told: Steps,
    on_previews: Sequence[OnPreview | None] = (),
) -> Any:
    """Draw a picture for each seed, and give the pixels, which the device may still be drawing.

    `on_previews` hear of the picture at their place; empty means that nobody looks.
    Noise comes from CPU generators: the same seed gives the same noise on every device.
    """
    steps = prepared.told["num_inference_steps"]
    looking = [(index, hear) for index, hear in enumerate(on_previews) if hear is not None]

    def after_step(_pipe: Any, step: int, _t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        def show() -> None:
            for index, hear in looking:
                hear(draw_preview(pipe, step, tensors, prepared.render, index))

        is_last = step + 1 == steps  # then comes the picture itself
        if looking and not is_last and can_preview(pipe, tensors):
            told.queued(step + 1, show)
        else:
            told.queued(step + 1)
        return {}

    latents = pipe(
        **prepared.told,
        generator=[torch.Generator("cpu").manual_seed(seed % 2**64) for seed in seeds],
        callback_on_step_end=after_step,
        callback_on_step_end_tensor_inputs=["latents", *(["noise_pred"] if looking else [])],
    ).images
    return _decode(pipe, latents, in_tiles=prepared.in_tiles)


def _decode(pipe: Any, latents: torch.Tensor, *, in_tiles: bool) -> Any:
    vae = pipe.vae
    vae.use_tiling = vae.use_slicing = in_tiles
    try:
        decoded = vae.decode(latents, return_dict=False)[0]
    finally:
        vae.use_tiling = vae.use_slicing = False  # references are encoded whole
    return pipe.image_processor.postprocess(decoded, output_type="pt")


def draw_sketch(
    pipe: Any, manifest: Manifest, text: Embedded, size: tuple[int, int]
) -> torch.Tensor:
    """Give the latents of a picture after two steps: both ends of what the model is asked."""
    width, height = size
    latents: torch.Tensor = pipe(
        prompt_embeds=text.embeds,
        width=width,
        height=height,
        num_inference_steps=2,
        guidance_scale=1.0,
        generator=torch.Generator("cpu").manual_seed(0),
        output_type="latent",
        max_sequence_length=manifest.max_sequence_length,
        text_encoder_out_layers=manifest.text_encoder_out_layers,
    ).images
    return latents.float().cpu()
