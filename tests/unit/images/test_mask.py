"""Tests of how masks of every kind are read: as grey images in which white is redrawn."""

import io

import numpy as np
import pytest
from PIL import Image

from app.images.errors import ImageRejected
from app.images.mask import LARGEST_PIXELS, WHITE_IS_REDRAWN, MaskReading, read_mask

BY_ALPHA = MaskReading(is_alpha=True)


def encoded(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def half(mode="L", left=255, right=0, size=(96, 64)):
    image = Image.new(mode, size, right)
    image.paste(left, (0, 0, size[0] // 2, size[1]))
    return image


def pixels(data, reading=WHITE_IS_REDRAWN):
    _, mask = read_mask(data, reading)
    image = Image.open(io.BytesIO(mask))
    assert (image.format, image.mode) == ("PNG", "L")
    return np.asarray(image)


HALF = np.asarray(half())


@pytest.mark.parametrize(
    "image",
    [
        half(),
        half("1", 1, 0),
        half("RGB", (255, 255, 255), (0, 0, 0)),
        half("RGBA", (255, 255, 255, 255), (255, 255, 255, 0)),
        half("RGBA", (255, 255, 255, 255), (0, 0, 0, 255)),
        half("LA", (255, 255), (0, 255)),
        half("I;16", 65535, 0),
        half().convert("P"),
    ],
    ids=["grey", "bits", "colour", "layer", "opaque", "grey alpha", "16 bits", "palette"],
)
def test_white_is_redrawn(image):
    """In every mode of PNG, white is redrawn, and black and transparent stay."""
    assert (pixels(encoded(image)) == HALF).all()


def test_black_of_a_jpeg_is_black():
    """The noise of a JPEG neither redraws what is black, nor keeps what is white."""
    mask = pixels(encoded(half("RGB", (250, 250, 250), (5, 5, 5)), "JPEG"))

    assert (mask[:, :32] == 255).all()
    assert (mask[:, 64:] == 0).all()


def test_grey_stays_grey():
    """A grey mask is a soft one."""
    assert 100 < pixels(encoded(half(left=128)))[0, 0] < 156


def test_transparent_is_redrawn():
    """With alpha, what is transparent is redrawn, whatever its colour."""
    image = half("RGBA", (0, 0, 0, 0), (255, 255, 255, 255))

    assert (pixels(encoded(image), BY_ALPHA) == HALF).all()


def test_inverted_mask():
    """Inverted, black is redrawn."""
    image = half(left=0, right=255)

    assert (pixels(encoded(image), MaskReading(is_inverted=True)) == HALF).all()


def test_blur_softens_the_edge():
    """A blur makes grey of the edge, and leaves what is far from it."""
    mask = pixels(encoded(half()), MaskReading(blur_px=4))

    assert (mask[0, 0], mask[0, 95]) == (255, 0)
    assert 0 < mask[0, 44] < 255
    assert 0 < mask[0, 52] < 255


def test_large_mask_is_reduced():
    """A mask with more pixels than any output is scaled down, with its aspect ratio."""
    info, _ = read_mask(encoded(half(size=(4096, 2048))), WHITE_IS_REDRAWN)

    assert info.width * info.height <= LARGEST_PIXELS
    assert info.width == 2 * info.height


@pytest.mark.parametrize(
    ("image", "reading", "message"),
    [
        (half(left=0), WHITE_IS_REDRAWN, "wholly black"),
        (half(left=9), WHITE_IS_REDRAWN, "wholly black"),
        (half(left=255, right=255), MaskReading(is_inverted=True), "wholly white"),
        (half("RGBA", (0, 0, 0, 255), (9, 9, 9, 255)), BY_ALPHA, "wholly opaque"),
        (half("RGB", (0, 0, 0), (255, 255, 255)), BY_ALPHA, "no alpha channel"),
        (half(size=(32, 64)), WHITE_IS_REDRAWN, "at least 64"),
    ],
)
def test_useless_mask_is_refused(image, reading, message):
    """A mask that redraws nothing, or that cannot be read as it must be, is refused with what to do."""
    with pytest.raises(ImageRejected, match=message):
        read_mask(encoded(image), reading)


def test_damaged_mask_is_refused():
    """A truncated mask is refused as other images are."""
    with pytest.raises(ImageRejected, match="truncated or damaged"):
        read_mask(encoded(half("RGB", (255, 255, 255), (0, 0, 0)))[:-60], WHITE_IS_REDRAWN)
