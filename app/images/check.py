"""Checks an image file by decoding it once in bounded memory; the pixels are not kept."""

import io
import threading
import warnings
from dataclasses import dataclass

from PIL import ExifTags, Image, UnidentifiedImageError

from app.images.decode_cost import is_too_costly
from app.images.errors import ImageRejected

LARGEST_BYTES = 20 * 1024 * 1024
LARGEST_PIXELS = 50_000_000
SMALLEST_SIDE = 64
WIDEST_ASPECT = 8
_FORMATS = ("PNG", "JPEG", "WEBP")
_PHONE_FORMAT = "MPO"
"""A JPEG followed by a second image, such as a depth map; only the first is used."""
_WHAT_TO_SEND = "send a still PNG, JPEG or WebP"
_TURNED = range(5, 9)
"""EXIF orientations that swap width and height."""

_one_at_a_time = threading.Lock()  # bounds memory; warning filters also belong to the whole process


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """The format and size of a valid image."""

    format: str
    """png, jpeg or webp, detected from the content."""
    width: int
    height: int
    """Pixels, after the EXIF orientation is applied."""


def check_image(
    data: bytes,
    *,
    largest_bytes: int = LARGEST_BYTES,
    largest_pixels: int = LARGEST_PIXELS,
) -> ImageInfo:
    """Decode the image and return its format and size. Raises ImageRejected, which says what to do.

    The size in the header is checked before any pixel is decoded, and one image is decoded at a time, so the process
    needs at most about twelve bytes per allowed pixel (a progressive CMYK JPEG).
    """
    if len(data) > largest_bytes:
        megabytes = largest_bytes / (1024 * 1024)
        raise ImageRejected(f"the image is larger than {megabytes:g} MB; send a smaller file")
    if is_too_costly(data):
        raise ImageRejected("the image file has too many parts; open it and save it again")
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                info = _check_header(image, largest_pixels)
                image.load()
        except ImageRejected:
            raise
        except UnidentifiedImageError as exc:
            raise ImageRejected(f"the file is not an image we read; {_WHAT_TO_SEND}") from exc
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
            raise _too_many_pixels(largest_pixels) from exc
        except Exception as exc:  # Pillow's plugins raise any exception for damaged files
            raise ImageRejected(f"the image is truncated or damaged; {_WHAT_TO_SEND}") from exc
    return info


def _check_header(image: Image.Image, largest_pixels: int) -> ImageInfo:
    width, height = image.size
    if width * height > largest_pixels:
        raise _too_many_pixels(largest_pixels)
    if getattr(image, "n_frames", 1) > 1 and image.format != _PHONE_FORMAT:
        raise ImageRejected(f"the image is animated; {_WHAT_TO_SEND}")
    if min(width, height) < SMALLEST_SIDE:
        raise ImageRejected(
            f"the image is {width}x{height}; both sides must be at least {SMALLEST_SIDE} pixels"
        )
    if max(width, height) > WIDEST_ASPECT * min(width, height):
        raise ImageRejected(
            f"the image is {width}x{height}; one side may be at most {WIDEST_ASPECT} times the other"
        )
    if image.getexif().get(ExifTags.Base.Orientation) in _TURNED:
        width, height = height, width
    file_format = "jpeg" if image.format == _PHONE_FORMAT else str(image.format).lower()
    return ImageInfo(format=file_format, width=width, height=height)


def _too_many_pixels(largest_pixels: int) -> ImageRejected:
    return ImageRejected(
        f"the image has more than {largest_pixels / 1e6:g} megapixels; scale it down before sending"
    )
