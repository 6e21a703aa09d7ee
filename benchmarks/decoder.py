"""Compares another autoencoder, such as the small decoder, with the one of a checkpoint: `python -m benchmarks.decoder --vae FOLDER`.

Both decode the same latents, which the checkpoint denoises for a few prompts. Prints the PSNR of the images and the
times. `KLEIN_VAE=FOLDER` then serves it.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from worker.engines.component import check_component, load_component
from worker.engines.device import choose_device, synchronize
from worker.engines.folder import WeightsFolder, inspect_folder
from worker.engines.libraries import silence_libraries
from worker.engines.pipeline import load_pipeline
from worker.engines.precision import choose_weights_dtype
from worker.engines.tensor_names import Component

BUILT_IN = Path("worker/weights/builtin")
PROMPTS = ("a red circle on a blue background", "two green squares", "a white star", "a house")
STEPS = 4
LEAST_DB = 30.0
"""Below this, people see the difference."""


def load_vae(folder: WeightsFolder, dtype: torch.dtype, device: torch.device) -> Any:
    """Load the autoencoder of a checkpoint."""
    source = next(s for s in folder.sources.components if s.component is Component.VAE)
    check_component(source)
    return load_component(source, dtype).to(device)


@torch.inference_mode()
def compare(weights: Path, vae: Path, side: int) -> tuple[float, float, float]:
    """Return the least PSNR in dB, and the median seconds of the checkpoint's own decoder and of the other one."""
    folder = inspect_folder(weights)
    device = choose_device()
    dtype = choose_weights_dtype(device, folder.size_bytes)
    pipe = load_pipeline(folder, dtype).to(device)
    other = load_vae(inspect_folder(weights, {Component.VAE: vae}), dtype, device)
    psnr, own_s, other_s = [], [], []
    for seed, prompt in enumerate(PROMPTS):
        latents = pipe(
            prompt=prompt,
            width=side,
            height=side,
            num_inference_steps=STEPS,
            guidance_scale=1.0,
            generator=torch.Generator("cpu").manual_seed(seed),
            output_type="latent",
            max_sequence_length=folder.manifest.max_sequence_length,
            text_encoder_out_layers=folder.manifest.text_encoder_out_layers,
        ).images
        own, seconds = _decode(pipe.vae, latents, device)
        own_s.append(seconds)
        image, seconds = _decode(other, latents, device)
        other_s.append(seconds)
        error = float((own - image).square().mean())
        psnr.append(float(10 * torch.log10(torch.tensor(4.0 / max(error, 1e-12)))))  # -1 to 1
    return min(psnr), statistics.median(own_s), statistics.median(other_s)


def _decode(vae: Any, latents: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, float]:
    started = time.perf_counter()
    image = vae.decode(latents, return_dict=False)[0]
    synchronize(device)
    return image.float().clamp(-1, 1), time.perf_counter() - started


def main() -> None:
    """Compare, and exit with 1 if the other decoder is too far off."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=BUILT_IN)
    parser.add_argument("--vae", type=Path, required=True)
    parser.add_argument("--side", type=int)
    arguments = parser.parse_args()
    silence_libraries()
    side = arguments.side or inspect_folder(arguments.weights).manifest.native_size
    psnr, own_s, other_s = compare(arguments.weights, arguments.vae, side)
    print(
        f"{side}x{side}: PSNR {psnr:.1f} dB or more (needed: {LEAST_DB:.0f}); "
        f"own decoder {own_s * 1000:.0f} ms, other {other_s * 1000:.0f} ms"
    )
    if psnr < LEAST_DB:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
