"""Converts model output to RGB images and rejects invalid output."""

import numpy as np
import torch
from PIL import Image, ImageFilter

from worker.engines import ImageArray
from worker.engines.errors import InvalidOutput
from worker.engines.sizes import aspect_box

SHARPNESS = 0.5  # an edge's steepness for each time that an image is enlarged
SMOOTHING_PX = 0.6  # keeps slanted edges straight
NEIGHBOURHOOD_PX = 5  # whose darkest and lightest values no pixel exceeds: no halo


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


def resize_flat_art(array: ImageArray, width: int, height: int) -> ImageArray:
    """Resize an image of flat colours. Edges stay sharp, have no halo, and shapes are not stretched.

    If the aspect ratio differs a little, both ends of the longer side are cropped.
    """
    if array.shape[:2] == (height, width):
        return array
    image = Image.fromarray(array)
    box = aspect_box(image.size, (width, height))
    sharp, low, high = (
        np.array(part.resize((width, height), resampling, box=box), dtype=np.int16)
        for part, resampling in (
            (image.filter(ImageFilter.GaussianBlur(SMOOTHING_PX)), Image.Resampling.LANCZOS),
            (image.filter(ImageFilter.MinFilter(NEIGHBOURHOOD_PX)), Image.Resampling.BILINEAR),
            (image.filter(ImageFilter.MaxFilter(NEIGHBOURHOOD_PX)), Image.Resampling.BILINEAR),
        )
    )
    steeper = max(1, round(SHARPNESS * width / (box[2] - box[0])))
    twice_middle = low + high
    sharp <<= 1  # in place: millions of values, on the core that serves
    sharp -= twice_middle
    sharp *= steeper
    sharp += twice_middle
    sharp >>= 1
    np.clip(sharp, low, high, out=sharp)
    enlarged: ImageArray = sharp.astype(np.uint8)
    return enlarged


def centre_crop(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Crop an image to a size that it may exceed by a few pixels. A side that is too short is enlarged."""
    if image.width < size[0] or image.height < size[1]:
        return image.resize(size, Image.Resampling.LANCZOS)
    left, top = (image.width - size[0]) // 2, (image.height - size[1]) // 2
    return image.crop((left, top, left + size[0], top + size[1]))


def pad_to_aspect(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Repeat an image's edges so that `resize_flat_art` crops just these from an image of that size."""
    left, top, right, bottom = aspect_box(size, image.size)
    horizontal = round(image.width * left / (right - left))
    vertical = round(image.height * top / (bottom - top))
    if not horizontal and not vertical:
        return image
    pixels = np.asarray(image)
    padding = ((vertical, vertical), (horizontal, horizontal), (0, 0))[: pixels.ndim]
    return Image.fromarray(np.pad(pixels, padding, mode="edge"))
