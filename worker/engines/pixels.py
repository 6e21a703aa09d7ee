"""Converts model output to RGB images and rejects invalid output."""

import numpy as np
import torch
from PIL import Image

from worker.engines import ImageArray
from worker.engines.errors import InvalidOutput


def to_image_array(pixels: torch.Tensor) -> ImageArray:
    """Convert a float tensor of 3 x height x width in 0 to 1 into uint8 pixels on the host.

    The conversion runs on the device, so that only the bytes are copied. Raises `InvalidOutput` if the
    tensor is not finite or has one value only.
    """
    if not bool(torch.isfinite(pixels).all()):
        raise InvalidOutput("invalid output: the model's output is not a number")
    rgb = pixels.float().mul(255).round().clamp(0, 255).to(torch.uint8)
    if bool(rgb.min() == rgb.max()):
        raise InvalidOutput("invalid output: the model's output is one flat colour")
    array: ImageArray = rgb.permute(1, 2, 0).contiguous().cpu().numpy()
    return array


def resize(array: ImageArray, width: int, height: int) -> ImageArray:
    """Resize an image with Lanczos resampling."""
    if array.shape[:2] == (height, width):
        return array
    image = Image.fromarray(array).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image)
