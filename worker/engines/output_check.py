"""Checks at start that a checkpoint generates images, and not noise.

Neighbouring latents of an image are alike. Those of noise are not. A transformer with random, incomplete or wrongly
scaled weights leaves noise. The correlation of the built-in model at its native size, over 24 seeds, is 0.24 to 0.32.
With random weights, half of the weights random, fp8 scales ignored, or a zero output layer it is -0.22 to 0.01. A
random text encoder is not found this way: the model still generates images, of something else. The image is decoded
and encoded again, so that values in the autoencoder that are not numbers are found too.
"""

import torch

from worker.engines import OnStatus
from worker.engines.errors import WeightsError
from worker.engines.inference import encode_probe, generate_probe_latents, probe_autoencoder
from worker.engines.model import LoadedModel

MIN_CORRELATION = 0.1
MIN_DEVIATION = 1e-3
MIN_SIDE = 256
"""Pixels. In smaller images the correlation of an image does not differ enough from that of noise."""


def check_output(model: LoadedModel, prompt: str, on_status: OnStatus) -> None:
    """Generate one latent image and check it. Raises `WeightsError` if it is not an image."""
    if model.manifest.random_weights:
        on_status("output not checked: klein.json says that the weights are random")
        return
    side = model.manifest.native_size if model.manifest.render_scaled else MIN_SIDE
    latents = generate_probe_latents(model, prompt, (side, side))
    correlation = check_latents(latents)
    _check_text(encode_probe(model, prompt))
    for values, name in zip(
        probe_autoencoder(model, latents), ("decoder", "encoder of images"), strict=True
    ):
        _check_values(values[0], f"the output of its {name}")
    on_status(f"output checked: neighbouring latents correlate by {correlation:.2f}")


def check_latents(latents: torch.Tensor) -> float:
    """Return the mean correlation of latents (1, channels, height, width) with their right and lower neighbours.

    Raises `WeightsError` if they cannot be those of an image.
    """
    centred = _check_values(latents[0].float(), "its output")
    horizontal = _correlation(centred[:, :, 1:], centred[:, :, :-1])
    vertical = _correlation(centred[:, 1:], centred[:, :-1])
    correlation = (horizontal + vertical) / 2
    if correlation < MIN_CORRELATION:
        raise WeightsError(
            _message(
                f"neighbouring latents correlate by {correlation:.2f}, those of an image by at least {MIN_CORRELATION}"
            )
        )
    return correlation


def _check_values(image: torch.Tensor, name: str) -> torch.Tensor:
    """Return an image (channels, height, width) without its means. Raises `WeightsError` if nothing is left."""
    if not bool(torch.isfinite(image).all()):
        raise WeightsError(_message(f"{name} is not a number"))
    centred = image - image.mean(dim=(1, 2), keepdim=True)
    if float(centred.square().mean().sqrt()) < MIN_DEVIATION:
        raise WeightsError(_message(f"{name} is constant"))
    return centred


def _check_text(embeddings: torch.Tensor) -> None:
    """Check that the text encoder tells tokens apart: one whose file is partly zeros does not."""
    if float(embeddings.std(dim=0).max()) < MIN_DEVIATION:
        raise WeightsError(_message("the output of its text encoder is the same for every word"))


def _correlation(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first * second).sum() / (first.square().sum() * second.square().sum()).sqrt())


def _message(reason: str) -> str:
    return (
        f"the checkpoint generates noise ({reason}): its weights are random, incomplete or wrongly scaled. "
        "Download it again, or use another checkpoint. If the weights are random on purpose, set "
        '"random_weights": true in its klein.json'
    )
