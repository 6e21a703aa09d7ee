"""Training the autoencoder: pictures of the world to latents and back."""

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from worker.weights.recipe.autocast import autocast
from worker.weights.recipe.average import Average
from worker.weights.recipe.draw import draw
from worker.weights.recipe.loop import Loop
from worker.weights.recipe.model import Autoencoder, new_autoencoder
from worker.weights.recipe.muon import optimisers
from worker.weights.recipe.world import Canvas, Sampler, lay_out

BATCH = 24
MEASURED_PICTURES = 64
STATISTICS_PICTURES = 1_024
AT_ONCE = 16  # pictures, where nothing is learned
CROP_PX = 64
CROPS_UNTIL = 0.85
LATENT_NOISE = 0.3
GRADIENT_WEIGHT = 0.5
UNIT_VARIANCE_WEIGHT = 0.05
MUON_LR = 0.02
ADAM_LR = 3e-3
AVERAGE = 0.998


def to_tensor(images: list[Image.Image]) -> Tensor:
    """Turn pictures of one size into `[n, 3, height, width]` in -1…1."""
    pixels = np.stack([np.asarray(image) for image in images])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def mean_latents(autoencoder: Autoencoder, pixels: Tensor) -> Tensor:
    """Encode to the posterior's mode, which is what the pipeline takes for references."""
    mean: Tensor = autoencoder._encode(pixels).chunk(2, dim=1)[0]  # noqa: SLF001  no second public way that stays cheap
    return mean


def draw_batch(sampler: Sampler, count: int, canvas: Canvas) -> Tensor:
    """Draw scenes of one or two things, now and then an empty one."""
    scenes = [sampler.scene(sampler.rng.choices((0, 1, 2), (1, 9, 10))[0]) for _ in range(count)]
    return to_tensor([draw(lay_out(scene, canvas, sampler.rng)) for scene in scenes])


def crop_batch(pixels: Tensor, rng: random.Random) -> Tensor:
    """Cut a square of `CROP_PX` out of each picture."""
    crops = []
    for picture in pixels:
        top = rng.randrange(picture.shape[1] - CROP_PX + 1)
        left = rng.randrange(picture.shape[2] - CROP_PX + 1)
        crops.append(picture[:, top : top + CROP_PX, left : left + CROP_PX])
    return torch.stack(crops)


def reconstruction_loss(decoded: Tensor, pixels: Tensor) -> Tensor:
    """Add up L1, MSE and the L1 of the gradients, which keeps edges sharp."""
    rows = l1_loss(decoded.diff(dim=2), pixels.diff(dim=2))
    columns = l1_loss(decoded.diff(dim=3), pixels.diff(dim=3))
    return l1_loss(decoded, pixels) + mse_loss(decoded, pixels) + GRADIENT_WEIGHT * (rows + columns)


def psnr_db(decoded: Tensor, pixels: Tensor) -> float:
    """Give the peak signal-to-noise ratio of pictures in -1…1, the mean over pictures."""
    errors = (decoded.clamp(-1, 1) - pixels).div(2).pow(2).flatten(1).mean(1).clamp_min(1e-10)
    return float((-10 * errors.log10()).mean())


@dataclass(slots=True, kw_only=True)
class AutoencoderPhase:
    """One run of autoencoder training."""

    folder: Path
    steps: int
    seed: int
    device: torch.device
    precision: torch.dtype
    only_decoder_of: Autoencoder | None = None  # its latents stay, so that others may learn them
    batch: int = BATCH
    measured_pictures: int = MEASURED_PICTURES
    resume: bool = False
    stop_after: int | None = None  # steps
    report: Callable[[str], None] = print

    def train(self) -> Autoencoder:
        """Take the steps that are left, and give the averaged autoencoder."""
        torch.manual_seed(self.seed)
        rng = random.Random(self.seed)  # noqa: S311  not for secrets
        autoencoder = copy.deepcopy(self.only_decoder_of or new_autoencoder())
        autoencoder = autoencoder.to(self.device).requires_grad_(True).train()
        autoencoder.bn.eval()
        averaged = copy.deepcopy(autoencoder)
        if self.only_decoder_of is not None:
            autoencoder.encoder.requires_grad_(False)
            autoencoder.quant_conv.requires_grad_(False)
        muon, adam = optimisers(
            [autoencoder],
            inside=lambda name: "_in." not in name and "conv_out" not in name,
            muon_lr=MUON_LR,
            adam_lr=ADAM_LR,
            precision=self.precision,
        )
        loop = Loop(
            path=self.folder / ("decoder.pt" if self.only_decoder_of else "autoencoder.pt"),
            steps=self.steps,
            parts={"model": autoencoder, "average": averaged},
            optimisers=((muon, MUON_LR), (adam, ADAM_LR)),
            average=Average(
                live=list(autoencoder.parameters()),
                kept=list(averaged.parameters()),
                longest=AVERAGE,
            ),
            rng=rng,
            report=self.report,
            stop_after=self.stop_after,
        )
        if self.resume:
            loop.resume(self.device)
        sampler = Sampler(rng)
        loop.run(
            lambda progress, _: self._loss(
                autoencoder, self._pixels(sampler, crops=progress < CROPS_UNTIL)
            ),
            lambda _: f"held-out {self._measure(averaged):.2f} dB",
        )
        return averaged.eval()

    def _measure(self, averaged: Autoencoder) -> float:
        return measure_psnr_db(averaged, self.device, pictures=self.measured_pictures)

    def _pixels(self, sampler: Sampler, *, crops: bool) -> Tensor:
        if crops:
            pixels = crop_batch(draw_batch(sampler, self.batch, Canvas()), sampler.rng)
        else:
            pixels = draw_batch(sampler, self.batch // 3, Canvas())
        return pixels.to(self.device)

    def _loss(self, autoencoder: Autoencoder, pixels: Tensor) -> Tensor:
        with autocast(self.device, self.precision):
            latents = mean_latents(autoencoder, pixels)
            noise = LATENT_NOISE * torch.rand(len(latents), 1, 1, 1, device=self.device)
            decoded = autoencoder._decode(  # noqa: SLF001  the public one wraps it in a dataclass
                latents + noise * torch.randn_like(latents), return_dict=False
            )[0]
        spread = latents.float()
        mean, variance = spread.mean((0, 2, 3)), spread.var((0, 2, 3))
        unit = mean.pow(2).mean() + (variance - 1).pow(2).mean()
        return reconstruction_loss(decoded.float(), pixels) + UNIT_VARIANCE_WEIGHT * unit


@torch.no_grad()
def measure_psnr_db(
    autoencoder: Autoencoder, device: torch.device, *, pictures: int = MEASURED_PICTURES
) -> float:
    """Measure the reconstruction of pictures that hold things never trained on."""
    sampler = Sampler(random.Random(987), held_out=True)  # noqa: S311  not for secrets
    autoencoder.eval()
    figures = []
    for _ in range(max(1, pictures // AT_ONCE)):
        pixels = draw_batch(sampler, AT_ONCE, Canvas()).to(device)
        latents = mean_latents(autoencoder, pixels)
        figures.append(psnr_db(autoencoder.decode(latents).sample, pixels))
    return sum(figures) / len(figures)


@torch.no_grad()
def set_statistics(
    autoencoder: Autoencoder,
    device: torch.device,
    *,
    pictures: int = STATISTICS_PICTURES,
    seed: int = 5,
) -> None:
    """Set the batch norm's mean and variance from the latents of the world."""
    sampler = Sampler(random.Random(seed))  # noqa: S311  not for secrets
    tokens = []
    for _ in range(pictures // AT_ONCE):
        latents = mean_latents(autoencoder, draw_batch(sampler, AT_ONCE, Canvas()).to(device))
        tokens.append(torch.nn.functional.pixel_unshuffle(latents, 2).cpu())
    everything = torch.cat(tokens)
    autoencoder.bn.running_mean.copy_(everything.mean((0, 2, 3)))
    autoencoder.bn.running_var.copy_(everything.var((0, 2, 3)))
