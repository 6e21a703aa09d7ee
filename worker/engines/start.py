"""Starts the denoising from an image instead of pure noise, and keeps what is outside its mask.

The mathematics are those of diffusers' Flux2KleinInpaintPipeline. A step leaves x = (1 - sigma) x0 + sigma noise, so
the latents of a known image are known after every step.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image

from worker.engines import Order
from worker.engines.model import LoadedModel
from worker.engines.original import token_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The image that the denoising starts from, for one pipeline call."""

    clean: torch.Tensor
    """Latents of the image: 1 x channels x rows x columns, one position for each token."""
    weights: torch.Tensor | None
    """How much of each token is redrawn: 1 x tokens x 1, in 0 to 1. None means all."""
    steps: int
    """Steps of the whole schedule."""
    first_step: int
    """Steps that are left out at its begin, because the image takes their place."""

    def begin(self, pipe: Any, generators: list[torch.Generator]) -> "StartedImages":
        """Draw the noise that the pipeline would draw, and mix it with the image."""
        clean = self.clean.expand(len(generators), *self.clean.shape[1:])
        noise = randn_tensor(
            clean.shape, generator=generators, device=clean.device, dtype=clean.dtype
        )
        rows, columns = clean.shape[-2:]
        sigmas = np.linspace(1.0, 1 / self.steps, self.steps)[self.first_step :]
        pipe.scheduler.set_timesteps(
            sigmas=sigmas, mu=compute_empirical_mu(rows * columns, self.steps)
        )
        return StartedImages(
            clean=clean, noise=noise, weights=self.weights, given_sigmas=sigmas, pipe=pipe
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedImages:
    """The images of one pipeline call that started from an image."""

    clean: torch.Tensor
    noise: torch.Tensor
    weights: torch.Tensor | None
    given_sigmas: Any
    """The schedule before the scheduler shifts it, from the first step on."""
    pipe: Any

    @property
    def pipeline_kwargs(self) -> dict[str, Any]:
        """The arguments that make the pipeline start here."""
        return {"latents": self._noised(0), "sigmas": self.given_sigmas}

    def keep(self, latents: torch.Tensor, step: int) -> torch.Tensor:
        """Put the image back outside the mask, in the latents after a step: images x tokens x channels.

        After the last step the redrawn tokens are whole. A soft edge is blended in pixels.
        """
        if self.weights is None:
            return latents
        is_last = step + 1 == len(self.given_sigmas)
        weights = ((self.weights > 0) if is_last else self.weights).to(latents)
        known = self.pipe._pack_latents(self._noised(step + 1)).to(latents)  # noqa: SLF001 -- the pipeline's own
        kept: torch.Tensor = weights * latents + (1 - weights) * known
        return kept

    def _noised(self, step: int) -> torch.Tensor:
        """Return the latents of the image with the noise that is left before a step."""
        sigma: torch.Tensor = self.pipe.scheduler.sigmas[step].to(self.clean)
        return (1 - sigma) * self.clean + sigma * self.noise


def first_step_of(steps: int, strength: float) -> int:
    """Return how many steps of the schedule a strength leaves out, as diffusers does. At least one step is left."""
    return min(int(max(steps - steps * strength, 0)), steps - 1)


def encode_start(
    model: LoadedModel, image: Image.Image, mask: Image.Image | None, order: Order
) -> Start:
    """Encode an image of the render size, and its mask (mode L) of the same size."""
    pipe = model.pipe
    pixels = pipe.image_processor.preprocess(
        image, height=image.height, width=image.width, resize_mode="crop"
    )
    clean = pipe._encode_vae_image(  # noqa: SLF001 -- the pipeline's own
        image=pixels.to(device=model.device, dtype=pipe.vae.dtype), generator=None
    )
    weights = None
    if mask is not None:
        by_token = token_weights(mask, pipe.vae_scale_factor * 2)
        weights = torch.from_numpy(by_token).to(clean).reshape(1, -1, 1)
    return Start(
        clean=clean,
        weights=weights,
        steps=order.steps,
        first_step=first_step_of(order.steps, order.strength),
    )
