"""Prepares the inputs of one pipeline call: sizes, reference images, LoRAs, prompt embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from worker.engines import Order
from worker.engines.manifest import Manifest
from worker.engines.model import LoadedModel
from worker.engines.original import Original, box_around
from worker.engines.prompt_encoder import PromptEmbedding
from worker.engines.size_policy import SizePolicy, fit_output
from worker.engines.sizes import MIN_SIDE
from worker.engines.start import Start, encode_start, first_step_of

PART_NOTE = "this small model drew the masked part from the prompt alone, without the images"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineInputs:
    """Holds the inputs of one pipeline call, which generates one or more orders."""

    part_size: tuple[int, int]
    """Width and height in pixels of what the model generates in each output: all of it, or the part with the mask."""
    render_size: tuple[int, int]
    """Width and height in pixels of the images that the model generates."""
    notes: tuple[tuple[str, ...], ...]
    """Sentences for the caller, for each order."""
    pipeline_kwargs: dict[str, Any]
    """Arguments of the pipeline call, without generators and callbacks."""
    use_tiling: bool
    """Whether to decode the images in tiles, one image at a time."""
    original: Original | None = None
    """The image that the denoising starts from, in pixels. None means pure noise."""
    start: Start | None = None
    """The same image in latents."""

    @property
    def steps(self) -> int:
        """The denoising steps of each image."""
        skipped = self.start.first_step if self.start is not None else 0
        return int(self.pipeline_kwargs["num_inference_steps"]) - skipped


def prepare_inputs(
    model: LoadedModel,
    orders: Sequence[Order],
    reference_images: Sequence[Image.Image] = (),
    mask: Image.Image | None = None,
    *,
    force_tiling: bool = False,
) -> PipelineInputs:
    """Apply the orders' LoRAs, encode their prompts, and return the inputs of a call for all of them.

    The orders must be compatible: all but prompts and seeds comes from the first one. Negative prompts are
    encoded only if guidance is above 1. `mask` is that of the first reference image. Raises `EngineFault` and `UnusableLora`.
    """
    first = orders[0]
    manifest = model.manifest
    sizes = SizePolicy(manifest)
    output_size, notes = sizes.output_size(first, list(reference_images))
    original = None
    if reference_images and (mask is not None or first_step_of(first.steps, first.strength)):
        original = _original(reference_images[0], mask, output_size, model.manifest)
    part_size = original.image_part.size if original is not None else output_size
    width, height = sizes.render_size(*part_size)
    resized_references = [
        sizes.resize_reference(reference)
        if k
        else sizes.resize_first_reference(reference, output_size)
        for k, reference in enumerate(reference_images)
    ]
    if manifest.render_scaled and mask is not None:
        resized_references = []
        notes = [*notes, PART_NOTE]
    model.offloader.offload_all()
    model.loras.apply(first.loras)
    prompts = [model.prompt_encoder.encode(order.prompt) for order in orders]
    negative_embeds = None
    if first.guidance > 1.0:
        negative_embeds = torch.cat(
            [model.prompt_encoder.encode(order.negative_prompt).embeds for order in orders]
        )
    model.offloader.offload_all()
    start = None if original is None else _start(model, sizes, original, first)
    use_tiling = model.decode_memory.requires_tiling(width, height, len(orders), force=force_tiling)
    if use_tiling:
        notes = [
            *notes,
            f"{width}x{height} was decoded in tiles: the device's free memory is too small to decode it at once",
        ]
    return PipelineInputs(
        part_size=part_size,
        render_size=(width, height),
        use_tiling=use_tiling,
        original=original,
        start=start,
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


def _original(
    reference: Image.Image,
    mask: Image.Image | None,
    output_size: tuple[int, int],
    manifest: Manifest,
) -> Original:
    """Fit an image and its mask to the output. A model that draws small draws the part with the mask alone."""
    fitted = fit_output(reference, reference.size, output_size)
    box = (0, 0, *output_size)
    if mask is not None:
        mask = fit_output(mask, reference.size, output_size, Image.Resampling.BOX)
        if manifest.render_scaled:
            box = box_around(mask, MIN_SIDE)
    return Original(image=fitted, mask=mask, box=box)


def _start(model: LoadedModel, sizes: SizePolicy, original: Original, order: Order) -> Start:
    image, mask = sizes.to_render_size(original.image_part), original.mask_part
    if mask is not None:
        mask = sizes.to_render_size(mask, Image.Resampling.BOX)
    return encode_start(model, image, mask, order)


def _truncation_notes(prompt: PromptEmbedding, max_tokens: int) -> list[str]:
    """Return a note if the prompt was truncated, because the pipeline does not report it."""
    if prompt.token_count <= max_tokens:
        return []
    return [f"the prompt has {prompt.token_count} tokens and was truncated to {max_tokens}"]
