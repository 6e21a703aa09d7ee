"""Reads masks: makes a grey image of any kind of mask, in which white is redrawn.

The api calls this only in a decoder process (`app.images.decoders`).
"""

import io
import math
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageChops, ImageFile, ImageFilter

from app.images.check import ImageInfo, examine_image
from app.images.errors import ImageRejected

LARGEST_PIXELS = 4 * 1024 * 1024  # as many as an output has
_BLACK, _WHITE = 12, 243  # a JPEG's black and white are not exact
_LEVELS = [
    round(255 * min(max((level - _BLACK) / (_WHITE - _BLACK), 0), 1)) for level in range(256)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskReading:
    """How a caller's mask says what is redrawn. By default that is what is white."""

    is_alpha: bool = False
    """Whether what is transparent is redrawn, whatever its colour."""
    is_inverted: bool = False
    """Whether the rest is redrawn instead."""
    blur_px: int = 0
    """Radius by which the edge is softened, in pixels of the mask."""


WHITE_IS_REDRAWN = MaskReading()


def mask_path(path: Path) -> Path:
    """Return where the mask that was read from a file is."""
    return path.with_suffix(".mask")


def read_mask(data: bytes, reading: MaskReading) -> tuple[ImageInfo, bytes]:
    """Decode a mask and return it as a grey PNG in which white is redrawn, with its format and size.

    Raises ImageRejected, which says what to do, or MemoryError.
    """
    mask = examine_image(data, lambda image: _read(image, reading))
    if mask.getbbox() is None:
        what = "transparent" if reading.is_alpha else "black" if reading.is_inverted else "white"
        rest = "opaque" if reading.is_alpha else "white" if reading.is_inverted else "black"
        raise ImageRejected(
            f"the mask is wholly {rest}, so nothing would be redrawn; make {what} what is to change"
        )
    file = io.BytesIO()
    mask.save(file, "PNG", compress_level=1)
    return ImageInfo(format="png", width=mask.width, height=mask.height), file.getvalue()


def _read(image: ImageFile.ImageFile, reading: MaskReading) -> Image.Image:
    if reading.is_alpha:
        if not image.has_transparency_data:
            raise ImageRejected(
                "the mask has no alpha channel; make transparent what is to be redrawn"
            )
        mask = ImageChops.invert(image.convert("RGBA").getchannel("A"))
    else:
        mask = _lightness(image)
    if reading.is_inverted:
        mask = ImageChops.invert(mask)
    scale = min(1.0, math.sqrt(LARGEST_PIXELS / (mask.width * mask.height)))
    if scale < 1:
        size = (max(1, int(mask.width * scale)), max(1, int(mask.height * scale)))
        mask = mask.resize(size, Image.Resampling.BOX)
    mask = mask.point(_LEVELS)
    if reading.blur_px:
        mask = mask.filter(ImageFilter.GaussianBlur(reading.blur_px * scale))
    return mask


def _lightness(image: Image.Image) -> Image.Image:
    """Return how light an image is. What is transparent is black, as on a layer with white strokes alone."""
    if image.mode.startswith("I"):
        return image.point(lambda value: value / 256).convert("L")  # convert() alone clips 16 bits
    if not image.has_transparency_data:
        return image.convert("L")
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("L")
