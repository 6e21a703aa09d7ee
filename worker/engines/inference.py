"""Calls the pipeline: denoises with step callbacks, and decodes the latents."""

from collections.abc import Sequence
from typing import Any

import torch

from worker.engines import OnPreview
from worker.engines.device import translate_device_errors
from worker.engines.model import LoadedModel
from worker.engines.pipeline_inputs import PipelineInputs
from worker.engines.previews import MAX_SIDE, can_preview, decode_preview
from worker.engines.step_reporter import StepReporter

_PROBE_STEPS = 2  # the model sees pure noise in the first step, and little noise in the last


def generate_pixels(
    model: LoadedModel,
    inputs: PipelineInputs,
    seeds: Sequence[int],
    reporter: StepReporter,
    on_previews: Sequence[OnPreview | None] = (),
) -> Any:
    """Return one image for each seed, as a float tensor of images x 3 x height x width in 0 to 1.

    The tensor is on the device, which may still compute it. `on_previews` has an entry for each image, or none at
    all. The noise comes from CPU generators, so that a seed gives the same noise on every device.
    """
    pipe = model.pipe
    generators = [torch.Generator("cpu").manual_seed(seed % 2**64) for seed in seeds]
    started = inputs.start.begin(pipe, generators) if inputs.start is not None else None
    preview_callbacks = [
        (index, on_preview)
        for index, on_preview in enumerate(on_previews)
        if on_preview is not None
    ]

    def after_step(_pipe: Any, step: int, _t: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        def send_previews() -> None:
            for index, on_preview in preview_callbacks:
                preview = decode_preview(pipe, step, tensors, inputs.render_size, index)
                on_preview(
                    inputs.original.restore(preview, MAX_SIDE) if inputs.original else preview
                )

        is_last = step + 1 == inputs.steps  # the image itself follows
        if preview_callbacks and not is_last and can_preview(pipe, tensors):
            reporter.step_queued(step + 1, send_previews)
        else:
            reporter.step_queued(step + 1)
        return {} if started is None else {"latents": started.keep(tensors["latents"], step)}

    latents = pipe(
        **inputs.pipeline_kwargs,
        **(started.pipeline_kwargs if started is not None else {}),
        generator=generators,
        callback_on_step_end=after_step,
        callback_on_step_end_tensor_inputs=[
            "latents",
            *(["noise_pred"] if preview_callbacks else []),
        ],
    ).images
    pixels = _decode(pipe, latents, use_tiling=inputs.use_tiling)
    reporter.report_pending()  # the last step, while the device decodes
    return pixels


def _decode(pipe: Any, latents: torch.Tensor, *, use_tiling: bool) -> Any:
    vae = pipe.vae
    vae.use_tiling = vae.use_slicing = use_tiling
    try:
        decoded = vae.decode(latents, return_dict=False)[0]
    finally:
        vae.use_tiling = vae.use_slicing = False  # reference images are encoded without tiles
    return pipe.image_processor.postprocess(decoded, output_type="pt")


def generate_probe_latents(model: LoadedModel, prompt: str, size: tuple[int, int]) -> torch.Tensor:
    """Return the latents of an image after two steps, as float32 on the host.

    They serve to compare two versions of a model, and to tell images from noise. `size` is width and height in pixels.
    """
    width, height = size
    with translate_device_errors(), model.inference():
        latents: torch.Tensor = model.pipe(
            prompt_embeds=model.prompt_encoder.encode(prompt).embeds,
            width=width,
            height=height,
            num_inference_steps=_PROBE_STEPS,
            guidance_scale=1.0,
            generator=torch.Generator("cpu").manual_seed(0),
            output_type="latent",
            max_sequence_length=model.manifest.max_sequence_length,
            text_encoder_out_layers=model.manifest.text_encoder_out_layers,
        ).images
        return latents.float().cpu()


def encode_probe(model: LoadedModel, prompt: str) -> torch.Tensor:
    """Return the embeddings of a prompt, as tokens x values in float32 on the host."""
    with translate_device_errors(), model.inference():
        return model.prompt_encoder.encode(prompt).embeds[0].float().cpu()


def probe_autoencoder(
    model: LoadedModel, latents: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the image of latents, and the latents of that image, as float32 on the host."""
    vae = model.pipe.vae
    with translate_device_errors(), model.inference():
        image = vae.decode(latents.to(model.device, model.dtype), return_dict=False)[0]
        encoded = vae.encode(image.clamp(-1, 1)).latent_dist.mode()
        return image.float().cpu(), encoded.float().cpu()
