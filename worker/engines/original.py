"""Keeps the part of an image that an edit does not redraw. It works on pixels, without torch."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from worker.engines import ImageArray

FEATHER_PX = 2
"""How far into the mask the redrawn part fades in, so that its edge is no seam."""


Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The image that an edit starts from and its mask, both in the size of the output."""

    image: Image.Image
    mask: Image.Image | None
    """Mode L. White is redrawn, grey blends. None means all is redrawn."""
    box: Box
    """The part that the model generates."""

    @property
    def image_part(self) -> Image.Image:
        """The part of the image that the model regenerates."""
        return self.image.crop(self.box)

    @property
    def mask_part(self) -> Image.Image | None:
        """The same part of the mask."""
        return None if self.mask is None else self.mask.crop(self.box)

    def restore(self, part: ImageArray, max_side: int | None = None) -> ImageArray:
        """Put what the model generated into the image, and keep the pixels where the mask is black.

        With `max_side`, the image is scaled down so that no side is longer, as a preview.
        """
        if self.mask is None:
            return part
        scale = min(1.0, (max_side or max(self.image.size)) / max(self.image.size))
        size = round(self.image.width * scale), round(self.image.height * scale)
        left, top, right, bottom = (round(edge * scale) for edge in self.box)
        mask = self.mask.resize(size, Image.Resampling.BOX)
        soft = mask.filter(ImageFilter.GaussianBlur(FEATHER_PX))
        share = Image.fromarray(np.minimum(np.asarray(mask), np.asarray(soft)))  # only inwards
        whole = self.image.resize(size, Image.Resampling.LANCZOS)
        drawn = Image.fromarray(part).resize((right - left, bottom - top), Image.Resampling.LANCZOS)
        whole.paste(drawn, (left, top), share.crop((left, top, right, bottom)))
        return np.asarray(whole)


def box_around(mask: Image.Image, min_side: int) -> Box:
    """Return the box of what a mask redraws, with an aspect ratio of at most 2 if the image has room for it."""
    left, top, right, bottom = mask.getbbox() or (0, 0, *mask.size)
    shortest = max(min_side, max(right - left, bottom - top) // 2)
    left, right = _widened(left, right, shortest, mask.width)
    top, bottom = _widened(top, bottom, shortest, mask.height)
    return left, top, right, bottom


def _widened(low: int, high: int, shortest: int, length: int) -> tuple[int, int]:
    span = min(max(high - low, shortest), length)
    start = min(max((low + high - span) // 2, 0), length - span)
    return start, start + span


def token_weights(mask: Image.Image, token_px: int) -> npt.NDArray[np.float32]:
    """Return how much of each token is redrawn, as rows x columns in 0 to 1: that of its lightest pixel.

    So each token that the mask touches is redrawn whole. The sides of the mask are multiples of `token_px`.
    """
    columns, rows = mask.width // token_px, mask.height // token_px
    pixels = np.asarray(mask).reshape(rows, token_px, columns, token_px)
    weights: npt.NDArray[np.float32] = pixels.max(axis=(1, 3)).astype(np.float32) / 255
    return weights
