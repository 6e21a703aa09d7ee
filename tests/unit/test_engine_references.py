import io

import numpy as np
import pytest
from PIL import Image

from worker.engines import EngineFault
from worker.engines.references import open_reference


def save(image, file_format="PNG", **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def centre(image):
    return image.getpixel((image.width // 2, image.height // 2))


def test_transparency_becomes_white():
    """What is transparent is white, what is half transparent is half white."""
    clear = open_reference(save(Image.new("RGBA", (64, 64), (255, 0, 0, 0))))
    half = open_reference(save(Image.new("RGBA", (64, 64), (255, 0, 0, 128))))

    assert centre(clear) == (255, 255, 255)
    assert centre(half) == (255, 127, 127)


def test_transparent_palette_becomes_white():
    """A palette entry that is transparent is white too."""
    image = Image.new("P", (64, 64), 1)
    image.putpalette([0, 0, 0, 200, 10, 10] + [0] * 750)

    assert centre(open_reference(save(image, transparency=1))) == (255, 255, 255)
    assert centre(open_reference(save(image))) == (200, 10, 10)


def test_sixteen_bit_grey_keeps_its_range():
    """Mid grey of 16 bits is mid grey of 8."""
    image = Image.fromarray(np.full((64, 64), 0x8000, np.uint16))

    assert centre(open_reference(save(image))) == (128, 128, 128)


@pytest.mark.parametrize(
    ("orientation", "corner"), [(1, (0, 0)), (3, (63, 31)), (6, (31, 0)), (8, (0, 63))]
)
def test_exif_turns_the_picture(orientation, corner):
    """The mark in the stored corner appears where the orientation puts it."""
    image = Image.new("RGB", (64, 32), "white")
    image.putpixel((0, 0), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation

    upright = open_reference(save(image, exif=exif))

    assert upright.getpixel(corner) == (255, 0, 0)


def test_cmyk_is_converted():
    """A CMYK photo becomes RGB."""
    image = Image.new("CMYK", (64, 64), (0, 255, 255, 0))
    red = centre(open_reference(save(image, "JPEG")))

    assert red[0] > 200
    assert max(red[1:]) < 60


def test_truncated_file_is_a_fault():
    """A file that ends early raises instead of giving half a picture."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))

    with pytest.raises(EngineFault, match="could not be decoded"):
        open_reference(save(noise)[:-2000])
