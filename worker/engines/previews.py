"""Decodes previews: the model's estimate of the final image after a step."""

from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from worker.engines import ImageArray
from worker.engines.compilation import eager

MAX_SIDE = 256  # px


def enable_preview_callback(pipe: Any) -> None:
    """Let step callbacks receive `noise_pred`. The pipeline passes only the tensors on its list."""
    names = [*pipe._callback_tensor_inputs, "noise_pred"]  # noqa: SLF001 -- there is no public way
    pipe._callback_tensor_inputs = names  # noqa: SLF001


def can_preview(pipe: Any, tensors: dict[str, Any]) -> bool:
    """Return whether the VAE is on the device. An offloaded VAE is not moved there for a preview."""
    is_on_device: bool = next(pipe.vae.parameters()).device == tensors["latents"].device
    return is_on_device


def decode_preview(
    pipe: Any, step: int, tensors: dict[str, Any], size: tuple[int, int], index: int = 0
) -> ImageArray:
    """Decode the image that the latents after `step` lead to, at most MAX_SIDE pixels a side.

    `tensors` holds `latents` and `noise_pred`, each batch x tokens x channels. `size` is the render size in pixels,
    and `index` selects one image of a batch.

    Flow matching has x = (1 - sigma) x0 + sigma noise, and the model predicts the velocity v = noise - x0.
    So the final image is x0 = x - sigma v. The latents are averaged to a smaller grid first, so that decoding is
    cheap.
    """
    x: torch.Tensor = tensors["latents"][index, None]
    x0 = x - pipe.scheduler.sigmas[step + 1].to(x.device) * tensors["noise_pred"][index, None]
    patch = pipe.vae_scale_factor * 2  # pixels per token on each side
    width, height = size[0] // patch, size[1] // patch
    tokens = x0.unflatten(1, (height, width)).permute(0, 3, 1, 2)
    vae = pipe.vae
    # Undo the batch normalisation of the latents, as the pipeline does before it decodes.
    mean = vae.bn.running_mean.view(1, -1, 1, 1).to(tokens)
    std = torch.sqrt(vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps).to(tokens)
    latents = pipe._unpatchify_latents(tokens * std + mean)  # noqa: SLF001 -- the pipeline's own
    max_latent_side = MAX_SIDE // pipe.vae_scale_factor
    scale = min(1.0, max_latent_side / max(latents.shape[-2:]))
    preview_shape = [max(1, round(side * scale)) for side in latents.shape[-2:]]
    with eager(vae.decoder):
        resized = interpolate(latents.float(), preview_shape, mode="area").to(vae.dtype)
        decoded = vae.decode(resized)[0]
    pixels = decoded[0].float().add(1).mul(127.5).nan_to_num().round().clamp(0, 255)
    return np.ascontiguousarray(pixels.to(torch.uint8).permute(1, 2, 0).cpu().numpy())
