import io
import random
import struct
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from app.images.check import ImageInfo, check_image
from app.images.errors import ImageRejected


def save(image, file_format="PNG", **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def noise(width=96, height=64, mode="RGB"):
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, channels), np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode)


def claimed_png(width, height):
    """Give a PNG whose header promises a size and whose body holds nothing like it."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1_000_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def palette():
    image = noise().convert("P")
    return save(image, transparency=3)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(noise(), "JPEG", exif=exif)


def two_pictures():
    return save(noise(), "MPO", save_all=True, append_images=[noise()])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (save(noise()), ("png", 96, 64)),
        (save(noise(), "JPEG"), ("jpeg", 96, 64)),
        (save(noise(), "JPEG", progressive=True), ("jpeg", 96, 64)),
        (save(noise(), "WEBP"), ("webp", 96, 64)),
        (save(noise(), "WEBP", lossless=True), ("webp", 96, 64)),
        (save(noise(mode="CMYK"), "JPEG"), ("jpeg", 96, 64)),
        (save(noise(mode="L")), ("png", 96, 64)),
        (save(noise(mode="LA")), ("png", 96, 64)),
        (save(noise(mode="RGBA")), ("png", 96, 64)),
        (save(Image.fromarray(np.full((64, 96), 40_000, np.uint16))), ("png", 96, 64)),
        (save(noise().convert("1")), ("png", 96, 64)),
        (palette(), ("png", 96, 64)),
        (turned(1), ("jpeg", 96, 64)),
        (turned(6), ("jpeg", 64, 96)),
        (turned(8), ("jpeg", 64, 96)),
        (two_pictures(), ("jpeg", 96, 64)),
        (save(noise(512, 64)), ("png", 512, 64)),
    ],
)
def test_every_usual_image_passes(data, expected):
    """Colour modes, depths and orientations that callers have pass, with their upright size."""
    file_format, width, height = expected

    assert check_image(data) == ImageInfo(format=file_format, width=width, height=height)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not an image we read"),
        (b"\x89PNG\r\n\x1a\n", "not an image|truncated or damaged"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image we read"),
        (save(noise(), "GIF"), "not an image we read"),
        (save(noise(), "BMP"), "not an image we read"),
        (save(noise(), "TIFF"), "not an image we read"),
        (save(noise(), save_all=True, append_images=[noise(mode="RGB").rotate(90)]), "animated"),
        (save(noise(), "WEBP", save_all=True, append_images=[noise().rotate(90)]), "animated"),
        (save(noise())[:-3000], "truncated or damaged"),
        (save(noise(), "JPEG")[:-1000], "truncated or damaged"),
        (save(noise(), "WEBP", lossless=True)[:-3000], "truncated or damaged|not an image"),
        (save(Image.new("RGB", (1, 1))), "1x1; both sides must be at least 64"),
        (save(Image.new("RGB", (640, 63))), "640x63; both sides"),
        (save(Image.new("RGB", (513, 64))), "at most 8 times"),
        (claimed_png(30_000, 30_000), "more than 50 megapixels"),
        (claimed_png(10_000, 6_000), "more than 50 megapixels"),
        (claimed_png(6_000, 6_000), "truncated or damaged"),
    ],
)
def test_every_bad_image_is_named(data, message):
    """Each refusal says what is wrong with the image."""
    with pytest.raises(ImageRejected, match=message):
        check_image(data)


def test_limits_are_parameters():
    """Bytes and pixels are limited by what the caller says."""
    data = save(noise())
    with pytest.raises(ImageRejected, match="larger than"):
        check_image(data, largest_bytes=len(data) - 1)
    with pytest.raises(ImageRejected, match="more than"):
        check_image(data, largest_pixels=96 * 64 - 1)

    assert check_image(data, largest_bytes=len(data), largest_pixels=96 * 64)


def test_a_bomb_takes_no_memory():
    """A header that promises gigabytes is refused before anything is decoded."""
    data = claimed_png(60_000, 60_000)
    tracemalloc.start()
    try:
        with pytest.raises(ImageRejected):
            check_image(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1_000_000


def test_threads_leave_the_warning_filters_alone():
    """Many checks at once give their answers and leave the process's filters as they were."""
    before = list(warnings.filters)
    images = [save(noise()), claimed_png(60_000, 60_000), palette(), turned(6)] * 10

    def outcome(data):
        try:
            return check_image(data).width
        except ImageRejected:
            return None

    with ThreadPoolExecutor(8) as threads:
        outcomes = list(threads.map(outcome, images))

    assert outcomes == [96, None, 96, 64] * 10
    assert list(warnings.filters) == before


@pytest.mark.parametrize(
    ("file_format", "seed"), [(f, s) for f in ("PNG", "JPEG", "WEBP") for s in range(3)]
)
def test_damage_is_refused_or_harmless(file_format, seed):
    """Whatever bytes are flipped, the answer is an ImageInfo or an ImageRejected."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    good = save(noise(), file_format, exif=exif)
    chance = random.Random(seed)
    for _ in range(150):
        data = bytearray(good)
        for _ in range(chance.choice((1, 3, 20))):
            where = chance.randrange(len(data) if chance.random() < 0.3 else 300)
            data[where] = chance.randrange(256)
        try:
            info = check_image(
                bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
            )
        except ImageRejected:
            continue
        assert info.width >= 64
