"""From the model's output to the bytes of a picture; what is no picture is refused."""

import numpy as np
import torch
from PIL import Image

from worker.engines import Picture
from worker.engines.errors import InvalidOutput


def to_picture(pixels: torch.Tensor) -> Picture:
    """Turn 3 x height x width in 0…1 into bytes on the device, and copy only those."""
    if not bool(torch.isfinite(pixels).all()):
        raise InvalidOutput("invalid output: the model's output is not a number")
    coloured = pixels.float().mul(255).round().clamp(0, 255).to(torch.uint8)
    if bool(coloured.min() == coloured.max()):
        raise InvalidOutput("invalid output: the model's output is one flat colour")
    picture: Picture = coloured.permute(1, 2, 0).contiguous().cpu().numpy()
    return picture


def scale(picture: Picture, width: int, height: int) -> Picture:
    """Give the picture at that size."""
    if picture.shape[:2] == (height, width):
        return picture
    image = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image)
