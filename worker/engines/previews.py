"""The picture as it comes: what the model expects at the end, seen from the middle of its steps."""

from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate

from worker.engines import Picture

SIDE_MAX = 256  # px


def allow_previews(pipe: Any) -> None:
    """Let the callback have the velocity too; the pipeline hands out only what it has listed."""
    names = [*pipe._callback_tensor_inputs, "noise_pred"]  # noqa: SLF001 -- there is no other way
    pipe._callback_tensor_inputs = names  # noqa: SLF001


def can_preview(pipe: Any, tensors: dict[str, Any]) -> bool:
    """Say whether the autoencoder is at hand; one that is offloaded is not fetched for a preview."""
    is_here: bool = next(pipe.vae.parameters()).device == tensors["latents"].device
    return is_here


def draw_preview(
    pipe: Any, step: int, tensors: dict[str, Any], size: tuple[int, int], index: int = 0
) -> Picture:
    """Draw what the latents after `step` lead to, at most SIDE_MAX pixels a side; `size` is the render's.

    Of several that are drawn at once it shows the one at `index`.

    With x = (1 - sigma) x0 + sigma noise and the velocity v = noise - x0, x0 is x - sigma v. The small latents are
    the mean of the large ones, so that decoding costs little.
    """
    x: torch.Tensor = tensors["latents"][index, None]
    x0 = x - pipe.scheduler.sigmas[step + 1].to(x.device) * tensors["noise_pred"][index, None]
    patch = pipe.vae_scale_factor * 2  # px a token, each side
    width, height = size[0] // patch, size[1] // patch
    tokens = x0.unflatten(1, (height, width)).permute(0, 3, 1, 2)
    vae = pipe.vae
    mean = vae.bn.running_mean.view(1, -1, 1, 1).to(tokens)
    spread = torch.sqrt(vae.bn.running_var.view(1, -1, 1, 1) + vae.config.batch_norm_eps).to(tokens)
    latents = pipe._unpatchify_latents(tokens * spread + mean)  # noqa: SLF001 -- the pipeline's own
    largest = SIDE_MAX // pipe.vae_scale_factor
    shrink = min(1.0, largest / max(latents.shape[-2:]))
    small = [max(1, round(side * shrink)) for side in latents.shape[-2:]]
    with torch.compiler.set_stance("force_eager"):  # no size of its own is compiled for it
        decoded = vae.decode(interpolate(latents.float(), small, mode="area").to(vae.dtype))[0]
    pixels = decoded[0].float().add(1).mul(127.5).nan_to_num().round().clamp(0, 255)
    return np.ascontiguousarray(pixels.to(torch.uint8).permute(1, 2, 0).cpu().numpy())
