"""Tests of decoding reference images."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from app.images.check import check_image
from worker.engines import EngineFault
from worker.engines.references import decode_reference


def save(image, file_format="PNG", **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def deep_png(width, height, colour):
    """Write a PNG with 16 bits per channel, which Pillow cannot write."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    row = b"\0" + struct.pack(">3H", *colour) * width
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = zlib.compress(row * height)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def centre(image):
    return image.getpixel((image.width // 2, image.height // 2))


def test_transparency_becomes_white():
    """A transparent pixel becomes white, and a half-transparent one is blended with white."""
    clear = decode_reference(save(Image.new("RGBA", (64, 64), (255, 0, 0, 0))))
    half = decode_reference(save(Image.new("RGBA", (64, 64), (255, 0, 0, 128))))

    assert centre(clear) == (255, 255, 255)
    assert centre(half) == (255, 127, 127)


def test_transparent_palette_becomes_white():
    """A transparent palette entry becomes white, and an opaque one keeps its colour."""
    image = Image.new("P", (64, 64), 1)
    image.putpalette([0, 0, 0, 200, 10, 10] + [0] * 750)

    assert centre(decode_reference(save(image, transparency=1))) == (255, 255, 255)
    assert centre(decode_reference(save(image))) == (200, 10, 10)


def test_sixteen_bit_colour_keeps_its_range():
    """A colour with 16 bits per channel keeps its value in 8 bits."""
    assert centre(decode_reference(deep_png(64, 64, (0x8000, 0x10FF, 0xFF00)))) == (128, 16, 255)


def test_sixteen_bit_grey_keeps_its_range():
    """Middle grey in 16 bits is middle grey in 8 bits."""
    image = Image.fromarray(np.full((64, 64), 0x8000, np.uint16))

    assert centre(decode_reference(save(image))) == (128, 128, 128)


# As EXIF 2.32 defines it: where row 0 and column 0 of the stored pixels belong.
UPRIGHT = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],
    7: lambda stored: stored.swapaxes(0, 1)[::-1, ::-1],
    8: lambda stored: stored.swapaxes(0, 1)[::-1],
}


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_exif_orientation(orientation, file_format):
    """Every pixel is where the EXIF orientation puts it, and the size is the one that the API determines."""
    stored = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if file_format == "WEBP" else {}
    data = save(Image.fromarray(stored), file_format, exif=exif, **lossless)

    upright = decode_reference(data)

    assert np.array_equal(np.asarray(upright), UPRIGHT[orientation](stored))
    assert upright.size == (check_image(data).width, check_image(data).height)


@pytest.mark.parametrize(("tag", "kind"), [(0x010E, 5), (0x011A, 2), (0x0100, 7)])
def test_invalid_exif_does_not_prevent_rotation(tag, kind):
    """EXIF tags of a wrong type, as some cameras write them, do not prevent the rotation."""
    sideways = struct.pack("<HHII", 0x0112, 3, 1, 6)
    mistyped = struct.pack("<HHII", tag, kind, 9, 40)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + sideways + mistyped + bytes(range(1, 99))

    assert decode_reference(save(Image.new("RGB", (96, 64)), exif=exif)).size == (64, 96)


def test_cmyk_is_converted():
    """A CMYK image becomes RGB."""
    image = Image.new("CMYK", (64, 64), (0, 255, 255, 0))
    red = centre(decode_reference(save(image, "JPEG")))

    assert red[0] > 200
    assert max(red[1:]) < 60


def test_truncated_file_is_fault():
    """A truncated file raises an error instead of giving part of an image."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))

    with pytest.raises(EngineFault, match="could not be decoded"):
        decode_reference(save(noise)[:-2000])
