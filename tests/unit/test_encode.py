"""Tests of encoding output images."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from app.predictions.parameters import DEFAULT_QUALITY
from worker.job.encode import DIGITAL_SOURCE_TYPE, SOFTWARE, encode

FORMATS = ["png", "jpeg", "webp"]


@pytest.fixture
def image():
    """Return a smooth image, as photographs mostly are."""
    y, x = np.mgrid[0:96, 0:128]
    return np.stack([x * 2, y * 2, (x + y) % 256], axis=-1).astype(np.uint8)


def opened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("output_format", FORMATS)
def test_metadata_names_model_as_source(image, output_format):
    """Each file has its format and size, and metadata that names klein and a model as its source."""
    file = opened(encode(image, output_format))

    assert file.format.lower() == output_format
    assert file.size == (128, 96)
    assert file.getexif()[0x0131] == SOFTWARE
    described = file.getxmp()["xmpmeta"]["RDF"]["Description"]
    assert described["DigitalSourceType"] == DIGITAL_SOURCE_TYPE


@pytest.mark.parametrize("output_format", FORMATS)
def test_same_pixels_give_same_bytes(image, output_format):
    """Encoding the same pixels twice gives the same bytes."""
    assert encode(image, output_format) == encode(image.copy(), output_format)


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (1, 70), (70, 1), (333, 71)])
def test_png_is_lossless(size):
    """PNG keeps every pixel, at any size."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)

    assert np.array_equal(np.asarray(opened(encode(pixels, "png"))), pixels)


def test_png_follows_standard(image):
    """Each PNG chunk has the right checksum, and the metadata comes before the pixels."""
    data = encode(image, "png")
    kinds, offset = [], 8
    while offset < len(data):
        (length,) = struct.unpack_from(">I", data, offset)
        body = data[offset + 4 : offset + 8 + length]
        assert struct.unpack_from(">I", data, offset + 8 + length) == (zlib.crc32(body),)
        kinds.append(body[:4])
        offset += 12 + length

    assert kinds == [b"IHDR", b"tEXt", b"iTXt", b"eXIf", b"IDAT", b"IEND"]
    assert opened(data).text["Software"] == SOFTWARE


def test_non_contiguous_pixels_are_encoded(image):
    """A flipped and cropped view is encoded like its copy."""
    view = image[::-1, 10:50]

    assert encode(view, "png") == encode(view.copy(), "png")


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_lossy_formats_stay_close(image, output_format):
    """At the default quality the mean error is below four levels."""
    error = np.asarray(opened(encode(image, output_format))).astype(int) - image

    assert np.abs(error).mean() < 4


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
def test_lower_quality_gives_smaller_file(image, output_format):
    """A lower quality gives a smaller file."""
    sizes = [len(encode(image, output_format, quality)) for quality in (20, 60, DEFAULT_QUALITY)]

    assert sizes == sorted(sizes)


def test_jpeg_keeps_full_colour_resolution(image):
    """JPEG files have full colour resolution (4:4:4)."""
    assert [layer[1:3] for layer in opened(encode(image, "jpeg")).layer] == [(1, 1)] * 3


def test_read_only_pixels_are_encoded(image):
    """Read-only pixels, as those in shared memory, can be encoded."""
    image.flags.writeable = False

    assert opened(encode(image, "png")).size == (128, 96)


def test_unknown_format_is_refused(image):
    """An unknown format raises ValueError."""
    with pytest.raises(ValueError, match="gif"):
        encode(image, "gif")
