"""Prepares the inputs of one pipeline call: sizes, reference images, LoRAs, prompt embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from worker.engines import Order
from worker.engines.model import LoadedModel
from worker.engines.prompt_encoder import PromptEmbedding
from worker.engines.size_policy import SizePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineInputs:
    """Holds the inputs of one pipeline call, which generates one or more orders."""

    output_size: tuple[int, int]
    """Width and height in pixels of the images that the caller gets."""
    render_size: tuple[int, int]
    """Width and height in pixels of the images that the model generates."""
    notes: tuple[tuple[str, ...], ...]
    """Sentences for the caller, for each order."""
    pipeline_kwargs: dict[str, Any]
    """Arguments of the pipeline call, without generators and callbacks."""
    use_tiling: bool
    """Whether to decode the images in tiles, one image at a time."""


def prepare_inputs(
    model: LoadedModel,
    orders: Sequence[Order],
    reference_images: Sequence[Image.Image] = (),
    *,
    force_tiling: bool = False,
) -> PipelineInputs:
    """Apply the orders' LoRAs, encode their prompts, and return the inputs of a call for all of them.

    The orders must be compatible: all but prompts and seeds comes from the first one. Negative prompts are
    encoded only if guidance is above 1. Raises `EngineFault` and `UnusableLora`.
    """
    first = orders[0]
    manifest = model.manifest
    sizes = SizePolicy(manifest)
    output_size, notes = sizes.output_size(first, list(reference_images))
    width, height = sizes.render_size(*output_size)
    resized_references = [sizes.resize_reference(reference) for reference in reference_images]
    model.offloader.offload_all()
    model.loras.apply(first.loras)
    prompts = [model.prompt_encoder.encode(order.prompt) for order in orders]
    negative_embeds = None
    if first.guidance > 1.0:
        negative_embeds = torch.cat(
            [model.prompt_encoder.encode(order.negative_prompt).embeds for order in orders]
        )
    model.offloader.offload_all()
    use_tiling = model.decode_memory.requires_tiling(width, height, len(orders), force=force_tiling)
    if use_tiling:
        notes = [
            *notes,
            f"{width}x{height} was decoded in tiles: the device's free memory is too small to decode it at once",
        ]
    return PipelineInputs(
        output_size=output_size,
        render_size=(width, height),
        use_tiling=use_tiling,
        notes=tuple(
            (*notes, *_truncation_notes(prompt, manifest.max_sequence_length)) for prompt in prompts
        ),
        pipeline_kwargs={
            "image": resized_references or None,
            "prompt_embeds": torch.cat([prompt.embeds for prompt in prompts]),
            "negative_prompt_embeds": negative_embeds,
            "width": width,
            "height": height,
            "num_inference_steps": first.steps,
            "guidance_scale": first.guidance,
            "output_type": "latent",
            "max_sequence_length": manifest.max_sequence_length,
            "text_encoder_out_layers": manifest.text_encoder_out_layers,
        },
    )


def _truncation_notes(prompt: PromptEmbedding, max_tokens: int) -> list[str]:
    """Return a note if the prompt was truncated, because the pipeline does not report it."""
    if prompt.token_count <= max_tokens:
        return []
    return [f"the prompt has {prompt.token_count} tokens and was truncated to {max_tokens}"]
