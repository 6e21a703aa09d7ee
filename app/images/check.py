"""Checks an image file by its header, or by decoding it once. The pixels are not kept.

The api calls this only in a decoder process (`app.images.decoders`), because a small file can need a lot of time and memory.
"""

import hashlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from app.images.decode_cost import is_too_costly
from app.images.errors import ImageRejected
from app.images.media_type import (
    HEAD_BYTES,
    TEXT_BYTES,
    media_type_of,
    name_foreign_format,
)
from app.images.repair import close_jpeg, drop_large_chunks

T = TypeVar("T")

LARGEST_BYTES = 20 * 1024 * 1024
LARGEST_PIXELS = 50_000_000
SMALLEST_SIDE = 64
WIDEST_ASPECT = 8
FORMATS = ("PNG", "JPEG", "WEBP", "AVIF")
_PHONE_FORMAT = "MPO"
"""A JPEG followed by a second image, such as a depth map. Only the first is used."""
_WHAT_TO_SEND = "send a still PNG, JPEG, WebP or AVIF"
_DAMAGED = f"the image is truncated or damaged; {_WHAT_TO_SEND}"
_ROTATED = range(5, 9)
"""EXIF orientations that swap width and height."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """The format and size of a valid image."""

    format: str
    """png, jpeg, webp or avif, detected from the content."""
    width: int
    height: int
    """Pixels, after the EXIF orientation is applied."""


def count_pixels(data: bytes, *, largest_bytes: int = LARGEST_BYTES) -> int:
    """Check an image without decoding a pixel, and return how many it has. Raises ImageRejected, which says what to do."""
    return examine_image(
        data, lambda image: image.width * image.height, largest_bytes=largest_bytes
    )


def check_image(
    data: bytes,
    *,
    largest_bytes: int = LARGEST_BYTES,
    largest_pixels: int = LARGEST_PIXELS,
) -> ImageInfo:
    """Decode the image and return its format and size. Raises ImageRejected, which says what to do, or MemoryError.

    The size in the header is checked before any pixel is decoded, so the process needs at most about twelve bytes per
    allowed pixel (a progressive CMYK JPEG).
    """
    return examine_image(
        data,
        lambda image: _decode(image, data),
        largest_bytes=largest_bytes,
        largest_pixels=largest_pixels,
    )


def examine_image(
    data: bytes,
    examine: Callable[[ImageFile.ImageFile], T],
    *,
    largest_bytes: int = LARGEST_BYTES,
    largest_pixels: int = LARGEST_PIXELS,
) -> T:
    """Check the header of an image, and return what `examine` makes of it.

    Raises ImageRejected, also for what `examine` raises, or MemoryError.
    """
    if len(data) > largest_bytes:
        megabytes = largest_bytes / (1024 * 1024)
        raise ImageRejected(f"the image is larger than {megabytes:g} MB; send a smaller file")
    if is_too_costly(data, largest_pixels):
        raise ImageRejected("the image file has too many parts; open it and save it again")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(drop_large_chunks(data)), formats=FORMATS) as image:
                _check_header(image, largest_pixels)
                return examine(image)
        except (ImageRejected, MemoryError):
            raise
        except UnidentifiedImageError as exc:
            raise _not_supported(data) from exc
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as exc:
            raise _too_many_pixels(largest_pixels) from exc
        except Exception as exc:  # Pillow's plugins raise any exception for damaged files
            raise ImageRejected(_DAMAGED) from exc


def _decode(image: ImageFile.ImageFile, data: bytes) -> ImageInfo:
    """Decode an image. A JPEG may lack its end marker, but none of its pixels."""
    try:
        image.load()
    except OSError:
        if not _lacks_only_its_end(data):
            raise
    else:  # its palette and transparency must be usable too
        if image.has_transparency_data:
            image.crop((0, 0, 1, 1)).convert("RGBA")
    width, height = image.size
    if image.getexif().get(ExifTags.Base.Orientation) in _ROTATED:
        width, height = height, width
    file_format = "jpeg" if image.format == _PHONE_FORMAT else str(image.format).lower()
    return ImageInfo(format=file_format, width=width, height=height)


def _lacks_only_its_end(data: bytes) -> bool:
    """Return whether a JPEG decodes to the same pixels, whatever comes before an end marker."""
    digests = set()
    for filling in (False, True):
        if (closed := close_jpeg(data, filling=filling)) is None:
            return False
        with Image.open(io.BytesIO(closed), formats=("JPEG",)) as image:
            digests.add(hashlib.sha256(image.tobytes()).digest())
    return len(digests) == 1


def _not_supported(data: bytes) -> ImageRejected:
    if media_type_of(data[:HEAD_BYTES]) is not None:
        return ImageRejected(_DAMAGED)
    if foreign := name_foreign_format(data[:TEXT_BYTES]):
        name, advice = foreign
        return ImageRejected(f"the file is {name}, which is not a supported image; {advice}")
    return ImageRejected(f"the file is not a supported image; {_WHAT_TO_SEND}")


def _check_header(image: ImageFile.ImageFile, largest_pixels: int) -> None:
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


def _too_many_pixels(largest_pixels: int) -> ImageRejected:
    return ImageRejected(
        f"the image has more than {largest_pixels / 1e6:g} megapixels; scale it down before sending"
    )
