"""Tests of the check of reference images."""

import io
import random
import struct
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from app.images.check import ImageInfo, check_image
from app.images.errors import ImageRejected

NOT_READ = "not a supported image"
OTHER_FORMATS = ("BMP", "TIFF", "PDF", "ICO", "JPEG2000", "TGA", "PPM", "QOI", "EPS", "ICNS", "PCX", "SGI", "DDS")  # fmt: skip


def save(image, file_format="PNG", **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def noise(width=96, height=64, mode="RGB"):
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, channels), np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels, mode)


def raw_png(width, height, body, depth=8):
    """Write a PNG with any uncompressed body."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def without_palette():
    """Write a PNG of palette indexes without the palette."""
    data = save(Image.new("P", (64, 64)))
    at = data.index(b"PLTE") - 4
    return data[:at] + data[at + 12 + int.from_bytes(data[at : at + 4]) :]


def claimed_png(width, height):
    """Write a PNG whose header claims a size that its body does not have."""
    return raw_png(width, height, bytes(1_000_000))


def png_of_16_bits(width, height):
    return raw_png(width, height, (b"\0" + bytes(6 * width)) * height, depth=16)


def comment(text):
    written = PngInfo()
    written.add_text("Comment", text)
    return written


def text_bomb():
    """Write a PNG whose comment expands to 100 MB."""
    packed = b"Comment\0\0" + zlib.compress(bytes(100_000_000))
    chunk = struct.pack(">I", len(packed)) + b"zTXt" + packed
    good = save(noise())
    return good[:33] + chunk + struct.pack(">I", zlib.crc32(b"zTXt" + packed)) + good[33:]


def fits():
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    2", "NAXIS1  =                   96", "NAXIS2  =                   64", "END"]  # fmt: skip
    return "".join(card.ljust(80) for card in cards).ljust(2880).encode() + bytes(96 * 64)


def palette():
    image = noise().convert("P")
    return save(image, transparency=3)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return save(noise(), "JPEG", exif=exif)


def two_images():
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
        *((turned(k), ("jpeg", 96, 64)) for k in (0, 1, 2, 3, 4, 9)),
        *((turned(k), ("jpeg", 64, 96)) for k in (5, 6, 7, 8)),
        (png_of_16_bits(96, 64), ("png", 96, 64)),
        (save(noise()) + b"<script>alert(1)</script>", ("png", 96, 64)),
        (save(noise(), pnginfo=comment("<script>alert(1)</script>")), ("png", 96, 64)),
        (save(noise(), "JPEG", comment=b"*/=alert(1);/*"), ("jpeg", 96, 64)),
        (two_images(), ("jpeg", 96, 64)),
        (save(noise(), "AVIF"), ("avif", 96, 64)),
        (text_bomb(), ("png", 96, 64)),
        (save(noise(), icc_profile=bytes(1_400_000)), ("png", 96, 64)),
        (save(noise(), icc_profile=random.Random(0).randbytes(1_400_000)), ("png", 96, 64)),
        (save(noise(), "JPEG")[:-2], ("jpeg", 96, 64)),
        (save(noise(), "JPEG")[:-1], ("jpeg", 96, 64)),
        (save(noise(), "JPEG", progressive=True)[:-2], ("jpeg", 96, 64)),
        (save(noise(512, 64)), ("png", 512, 64)),
    ],
)
def test_valid_images_pass(data, expected):
    """Images in the usual modes, depths and orientations pass, with their upright size."""
    file_format, width, height = expected

    assert check_image(data) == ImageInfo(format=file_format, width=width, height=height)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", NOT_READ),
        (b"\x89PNG\r\n\x1a\n", "not a supported image|truncated or damaged"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", NOT_READ),
        (save(noise(), "GIF"), NOT_READ),
        *((save(noise(), f), NOT_READ) for f in OTHER_FORMATS),
        (b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 64, 96, 8, 3) + bytes(99), NOT_READ),
        (fits(), NOT_READ),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 96 64\nshowpage\n", NOT_READ),
        (b"\xff\n" + bytes(99), NOT_READ),
        (b"GIF89a=0;/*" + bytes(99) + b"*/;alert(1)", NOT_READ),
        (b"<html>" + save(noise()), NOT_READ),
        (b"%PDF-1.7\n" + save(noise(), "JPEG"), NOT_READ),
        (save(noise(), "GIF", save_all=True, append_images=[noise()]), NOT_READ),
        (save(noise(), save_all=True, append_images=[noise(mode="RGB").rotate(90)]), "animated"),
        (save(noise(), "WEBP", save_all=True, append_images=[noise().rotate(90)]), "animated"),
        (save(noise())[:-3000], "truncated or damaged"),
        *((save(noise(), "JPEG")[:-cut], "truncated or damaged") for cut in (40, 1000, 3000)),
        (save(noise(), "AVIF")[:-1000], "truncated or damaged|not a supported image"),
        (save(noise(), "AVIF", save_all=True, append_images=[noise().rotate(90)]), "animated"),
        (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC, which is not a supported image"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(40), "HEIC"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40), "JPEG XL"),
        (b"\n <!DOCTYPE html><html>", "a web page"),
        (b"\xef\xbb\xbf<svg xmlns='http://www.w3.org/2000/svg'/>", "is SVG"),
        (b"<?xml version='1.0'?>\n<!-- drawn -->\n<svg/>", "is SVG"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is XML and no image"),
        (b'{"error": "not found"}', "is JSON and no image"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(40), "is a video"),
        (b"\x1aE\xdf\xa3" + bytes(40), "is a video"),
        (b"PK\x03\x04" + bytes(40), "is an archive"),
        (save(noise(), "ICO"), "is an icon"),
        *(
            (save(noise(), f)[:cut], "truncated or damaged")
            for f in ("PNG", "AVIF")
            for cut in (16, 40)
        ),
        (save(noise(), "JPEG")[:3], "truncated or damaged"),
        (save(noise(), "AVIF")[:60], "truncated or damaged"),
        (without_palette(), "truncated or damaged"),
        (
            save(noise(), "WEBP", lossless=True)[:-3000],
            "truncated or damaged|not a supported image",
        ),
        (save(Image.new("RGB", (1, 1))), "1x1; both sides must be at least 64"),
        (save(Image.new("RGB", (640, 63))), "640x63; both sides"),
        (save(Image.new("RGB", (513, 64))), "at most 8 times"),
        (claimed_png(30_000, 30_000), "more than 50 megapixels"),
        (claimed_png(10_000, 6_000), "more than 50 megapixels"),
        (claimed_png(6_000, 6_000), "truncated or damaged"),
    ],
)
def test_invalid_images_are_named(data, message):
    """The error says what is wrong with the image."""
    with pytest.raises(ImageRejected, match=message):
        check_image(data)


def test_limits_are_parameters():
    """The caller sets the limits for bytes and pixels."""
    data = save(noise())
    with pytest.raises(ImageRejected, match="larger than"):
        check_image(data, largest_bytes=len(data) - 1)
    with pytest.raises(ImageRejected, match="more than"):
        check_image(data, largest_pixels=96 * 64 - 1)

    assert check_image(data, largest_bytes=len(data), largest_pixels=96 * 64)


def test_decompression_bomb_takes_no_memory():
    """An image whose header claims gigabytes is refused before it is decoded."""
    data = claimed_png(60_000, 60_000)
    tracemalloc.start()
    try:
        with pytest.raises(ImageRejected):
            check_image(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1_000_000


def test_warning_filters_are_unchanged():
    """Checks leave the process's warning filters unchanged."""
    before = list(warnings.filters)
    images = [save(noise()), claimed_png(60_000, 60_000), palette(), turned(6)]

    def outcome(data):
        try:
            return check_image(data).width
        except ImageRejected:
            return None

    outcomes = [outcome(data) for data in images]

    assert outcomes == [96, None, 96, 64]
    assert list(warnings.filters) == before


@pytest.mark.parametrize(
    ("file_format", "seed"), [(f, s) for f in ("PNG", "JPEG", "WEBP") for s in range(3)]
)
def test_damaged_file_is_refused_or_accepted(file_format, seed):
    """A file with changed bytes gives an ImageInfo or an ImageRejected."""
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
