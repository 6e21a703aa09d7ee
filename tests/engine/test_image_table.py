"""Tests of docs/images.md: each row of its table."""

import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from app.images.check import check_image
from app.images.errors import ImageRejected
from tests.engine.test_colour import (
    ADOBE_RGB,
    DISPLAY_P3,
    PROPHOTO,
    expected,
    matrix_profile,
    saved,
)
from worker.engines.references import decode_reference

DOCS = (Path(__file__).parents[2] / "docs" / "images.md").read_text()
ROWS: dict[str, str] = dict(
    re.findall(r"^\| ((?:[A-Z]|animated)[^|]+?) \| ([^|]+?) \|$", DOCS, re.MULTILINE)
)
COLOUR = (150, 110, 70)
SIZE = (96, 64)
LAB = ImageCms.createProfile("LAB")
SRGB = ImageCms.createProfile("sRGB")


def flat(colour=COLOUR, mode="RGB"):
    return Image.new(mode, SIZE, colour)


def comment():
    written = PngInfo()
    written.add_text("Comment", "a" * 1_400_000, zip=True)
    return written


def grey_png(bits, transparent):
    """Write a flat grey PNG in which the grey is transparent."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    width, height = SIZE
    row = f"{transparent:0{bits}b}" * width
    pixels = b"\0" + int(row, 2).to_bytes(len(row) // 8)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"tRNS", struct.pack(">H", transparent)),
            chunk(b"IDAT", zlib.compress(pixels * height)),
            chunk(b"IEND", b""),
        ]
    )


P3, ADOBE, PRO = (matrix_profile(*space) for space in (DISPLAY_P3, ADOBE_RGB, PROPHOTO))
JPEG = saved(flat(), "JPEG", quality=100)
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8))
FILES = {
    "PNG, sRGB": saved(flat()),
    "PNG, Display P3 profile": saved(flat(), icc_profile=P3),
    "PNG, Adobe RGB profile": saved(flat(), icc_profile=ADOBE),
    "PNG, ProPhoto profile": saved(flat(), icc_profile=PRO),
    "PNG, broken profile": saved(flat(), icc_profile=P3[:200]),
    "PNG, profile of more than 1 MB": saved(flat(), icc_profile=P3 + bytes(1_400_000)),
    "PNG, text of more than 1 MB": saved(flat(), pnginfo=comment()),
    "PNG, transparent": saved(flat((*COLOUR, 0), "RGBA")),
    "PNG, grey with a transparent value, of any depth": grey_png(16, transparent=120 * 257),
    "PNG, 16 bits grey": saved(Image.fromarray(np.full((64, 96), 120 * 257, np.uint16))),
    "JPEG, Display P3 profile": saved(flat(), "JPEG", quality=100, icc_profile=P3),
    "JPEG without its end marker": JPEG[:-2],
    "JPEG of a phone with a second image (MPO)": saved(
        flat(), "MPO", quality=100, save_all=True, append_images=[flat("red")]
    ),
    "WebP, Display P3 profile": saved(flat(), "WEBP", lossless=True, icc_profile=P3),
    "AVIF": saved(flat(), "AVIF", quality=100),
    "AVIF, Display P3 profile": saved(flat(), "AVIF", quality=100, icc_profile=P3),
    "HEIC": b"\0\0\0\x18ftypheic" + bytes(200),
    "JPEG XL": b"\xff\x0a" + bytes(200),
    "GIF": saved(flat(), "GIF"),
    "TIFF": saved(flat(), "TIFF"),
    "MP4": b"\0\0\0\x18ftypmp42" + bytes(200),
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "PDF": saved(flat(), "PDF"),
    "animated WebP": saved(flat(), "WEBP", save_all=True, append_images=[flat("red")]),
    "JPEG cut in the middle": saved(NOISE, "JPEG")[:-1500],
}
INTENDED = {
    "PNG, Display P3 profile": expected(COLOUR, *DISPLAY_P3),
    "PNG, Adobe RGB profile": expected(COLOUR, *ADOBE_RGB),
    "PNG, ProPhoto profile": expected(COLOUR, *PROPHOTO),
    "PNG, transparent": (255, 255, 255),
    "PNG, grey with a transparent value, of any depth": (255, 255, 255),
    "PNG, 16 bits grey": (120, 120, 120),
    "JPEG, Display P3 profile": expected(COLOUR, *DISPLAY_P3),
    "WebP, Display P3 profile": expected(COLOUR, *DISPLAY_P3),
    "AVIF, Display P3 profile": expected(COLOUR, *DISPLAY_P3),
}


def lab(colour):
    image = Image.new("RGB", (1, 1), tuple(round(float(part)) for part in colour))
    converted: Any = ImageCms.profileToProfile(image, SRGB, LAB, outputMode="LAB")
    lightness, a, b = converted.getpixel((0, 0))
    signed = [part - 256 if part > 127 else part for part in (a, b)]
    return np.array([lightness * 100 / 255, *signed])


def test_table_is_complete():
    """docs/images.md has a row for each file, and no other rows."""
    assert list(ROWS) == ["File", *FILES]


@pytest.mark.parametrize("name", FILES)
def test_row_is_true(name):
    """Each file is read within its colour error, or refused with the reason of its row."""
    outcome, data = ROWS[name], FILES[name]
    if outcome.startswith("refused"):
        with pytest.raises(ImageRejected, match=outcome.removeprefix("refused: ")):
            check_image(data)
        return
    info = check_image(data)
    image = decode_reference(data)
    limit = float(re.findall(r"ΔE below (\d+)", outcome)[0])

    assert image.size == (info.width, info.height) == SIZE
    error = np.linalg.norm(lab(image.getpixel((48, 32))) - lab(INTENDED.get(name, COLOUR)))
    assert error < limit


@pytest.mark.parametrize(("bits", "grey"), [(2, 1), (4, 8), (8, 120), (16, 30000)])
def test_transparent_grey_is_white(bits, grey):
    """A grey value that a PNG of any depth declares transparent is blended with white."""
    image = decode_reference(grey_png(bits, grey))

    assert image.getpixel((48, 32)) == (255, 255, 255)
