"""Decodes reference images into upright RGB images."""

import io
import warnings

import numpy as np
from PIL import ExifTags, Image
from PIL.Image import Transpose

from app.images.check import FORMATS
from app.images.repair import close_jpeg, drop_large_chunks
from worker.engines.colour import to_srgb
from worker.engines.errors import EngineFault

_GREY_BITS = {"L;2": 2, "L;4": 4}
_TRANSPOSE_BY_ORIENTATION: dict[int | None, Transpose] = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""The operation that makes an image of each EXIF orientation upright."""


def decode_reference(data: bytes) -> Image.Image:
    """Decode an image file to sRGB, apply its EXIF orientation, and blend transparency with white.

    Raises `EngineFault` if the file cannot be decoded.
    """
    try:
        try:
            return _decode(drop_large_chunks(data))
        except OSError:
            if (closed := close_jpeg(data)) is None:
                raise
            return _decode(closed)  # only the end marker is missing: the API has validated the file
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        raise EngineFault(f"a reference image could not be decoded: {exc}") from exc


def decode_mask(data: bytes) -> Image.Image:
    """Decode a mask, which the API wrote as a grey PNG. Raises `EngineFault` if it cannot be decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as mask:
            return mask.convert("L")
    except (OSError, ValueError, SyntaxError) as exc:
        raise EngineFault(f"the mask could not be decoded: {exc}") from exc


def _decode(data: bytes) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the API has validated the file already
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            stored_mode = (
                str(opened.tile[0][3]) if opened.tile else ""
            )  # gone after the pixels are read
            # ImageOps.exif_transpose rewrites all EXIF data, and so fails on malformed tags.
            transpose = _TRANSPOSE_BY_ORIENTATION.get(
                opened.getexif().get(ExifTags.Base.Orientation)
            )
            image = _to_eight_bits(opened, stored_mode)
            upright = image if transpose is None else image.transpose(transpose)
            return _to_rgb(to_srgb(upright))


def _to_eight_bits(image: Image.Image, stored_mode: str) -> Image.Image:
    """Return grey of another depth as grey of 8 bits, with its transparent value, which Pillow leaves in the depth of the file."""
    bits, key = _GREY_BITS.get(stored_mode), image.info.get("transparency")
    if bits is not None and isinstance(key, int):
        image.info["transparency"] = key * 255 // (2**bits - 1)
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    grey = Image.fromarray((values >> 8).astype(np.uint8))  # convert() alone clips 16 bits
    if isinstance(key, int):
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


def _to_rgb(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")
