"""Turns the bytes of a reference image into the upright RGB picture the model sees."""

import io
import warnings

from PIL import ExifTags, Image
from PIL.Image import Transpose

from worker.engines.errors import EngineFault

_FORMATS = ("PNG", "JPEG", "WEBP")
_UPRIGHT: dict[int | None, Transpose] = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
"""What undoes each EXIF orientation."""


def open_reference(data: bytes) -> Image.Image:
    """Decode, turn upright by EXIF, and put what is transparent on white."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the API judged the file; here it only has to load
            with Image.open(io.BytesIO(data), formats=_FORMATS) as opened:
                # not by ImageOps.exif_transpose: it writes all EXIF anew, and fails on what others wrote wrongly
                turn = _UPRIGHT.get(opened.getexif().get(ExifTags.Base.Orientation))
                return _flatten(opened if turn is None else opened.transpose(turn))
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
