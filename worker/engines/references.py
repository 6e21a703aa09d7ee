"""Turns the bytes of a reference image into the upright RGB picture the model sees."""

import io
import warnings

from PIL import Image, ImageOps

from worker.engines.errors import EngineFault

_FORMATS = ("PNG", "JPEG", "WEBP")


def open_reference(data: bytes) -> Image.Image:
    """Decode, turn upright by EXIF, and put what is transparent on white."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the API judged the file; here it only has to load
            with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
                image = ImageOps.exif_transpose(opened)
                return _flatten(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        raise EngineFault(f"a reference image could not be decoded: {exc}") from exc


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = image.point(lambda value: value / 256).convert("L")  # convert() alone would clip
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layer).convert("RGB")
