"""Draws with the built-in model as a script does: diffusers' pipeline and Pillow's PNG writer, without klein's engine."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import Flux2KleinPipeline
from PIL import Image

from benchmarks.peer_servers.job import SEED

STEPS = 4
WEIGHTS = Path("worker/weights/builtin")


def load_pipeline() -> Callable[[str, int, int], bytes]:
    """Load the model. Return a function of a prompt, a width and a height, which returns a PNG."""
    manifest = json.loads((WEIGHTS / "klein.json").read_text())
    native = manifest["native_size"]
    pipeline_class: Any = Flux2KleinPipeline  # diffusers has no types
    pipeline = pipeline_class.from_pretrained(WEIGHTS, local_files_only=True, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)

    def render(prompt: str, width: int, height: int) -> Image.Image:
        images = pipeline(
            prompt=prompt,
            width=width,
            height=height,
            num_inference_steps=STEPS,
            guidance_scale=1.0,
            generator=torch.Generator("cpu").manual_seed(SEED),
            max_sequence_length=manifest["max_sequence_length"],
            text_encoder_out_layers=manifest["text_encoder_out_layers"],
        ).images
        image: Image.Image = images[0]
        return image

    def draw(prompt: str, width: int, height: int) -> bytes:
        if (width, height) == (native, native):
            image = render(prompt, width, height)
        else:
            image = _render_enlarged(render, native, prompt, width, height)
        file = io.BytesIO()
        image.save(file, "PNG")
        return file.getvalue()

    return draw


def _render_enlarged(
    render: Callable[[str, int, int], Image.Image],
    native: int,
    prompt: str,
    width: int,
    height: int,
) -> Image.Image:
    """Render at about the native size and enlarge, which makes the picture of this model what it is."""
    # here, because no server needs them to start
    from worker.engines.pixels import resize_flat_art  # noqa: PLC0415
    from worker.engines.sizes import native_render_size  # noqa: PLC0415

    size = native_render_size(width, height, native=native, multiple=16)
    return Image.fromarray(resize_flat_art(np.asarray(render(prompt, *size)), width, height))
