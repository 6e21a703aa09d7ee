"""Tests of the limits for files that are small but expensive to decode."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from app.images.check import LARGEST_PIXELS, check_image
from app.images.decode_cost import PARTS_MAX, SCANS_MAX, is_too_costly
from app.images.errors import ImageRejected


def save(file_format, **options):
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(file, file_format, **options)
    return file.getvalue()


def chunk(kind, data=b""):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PNG = save("PNG")
JPEG = save("JPEG")
PROGRESSIVE = save("JPEG", progressive=True)
LAST_SCAN = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]
MOTION = b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x02" * 500
"""Phones append a video to a photo. Its bytes do not count as scans of the photo."""


def with_scans(count):
    """Repeat the last scan until the file has `count` scans."""
    missing = count - PROGRESSIVE.count(b"\xff\xda")
    return PROGRESSIVE[:-2] + LAST_SCAN * missing + PROGRESSIVE[-2:]


def sized(data, side):
    """Say in the header of a JPEG that the image is square, with this side in pixels."""
    at = data.index(b"\xff\xc2") + 5  # the marker, its length and the precision
    return data[:at] + struct.pack(">HH", side, side) + data[at + 4 :]


@pytest.mark.parametrize(
    "data",
    [
        PNG[:33] + chunk(b"tEXt", b"a\0") * PARTS_MAX + PNG[33:],
        PNG[:33] + chunk(b"IDAT") * PARTS_MAX + PNG[33:],
        PNG[:-12] + chunk(b"abCd") * PARTS_MAX + PNG[-12:],
        *(JPEG[:2] + bytes([0xFF, m, 0, 2]) * PARTS_MAX + JPEG[2:] for m in (0xFE, 0xE9, 0xDB)),
        *(JPEG[:2] + bytes([0xFF, m]) * PARTS_MAX + JPEG[2:] for m in (0xFF, 0xD0, 0xD9, 0xF0)),
        JPEG[:4] + b"\0\x02" + bytes(PARTS_MAX) + JPEG[20:],
        with_scans(SCANS_MAX + 1),
    ],
    ids=lambda data: f"{data[:12]!r}{len(data)}",
)
def test_too_many_parts_are_refused(data):
    """Too many chunks, segments, fill bytes or scans are refused before decoding."""
    with pytest.raises(ImageRejected, match="too many parts; open it and save it again"):
        check_image(data)


@pytest.mark.parametrize(
    "data",
    [
        PNG,
        PNG + bytes(100),
        JPEG,
        PROGRESSIVE,
        with_scans(SCANS_MAX),
        JPEG + MOTION,
        save("JPEG", restart_marker_blocks=1),
        save("JPEG", icc_profile=bytes(200_000)),
        save("WEBP"),
    ],
    ids=lambda data: f"{data[:12]!r}{len(data)}",
)
def test_files_of_common_encoders_are_accepted(data):
    """Progressive files, restart markers, profiles and appended videos are accepted."""
    assert not is_too_costly(data, LARGEST_PIXELS)
    assert check_image(data).width == 64


def test_scans_of_large_image_are_limited():
    """Each scan is a pass over all pixels, so a large image may have fewer of them."""
    assert not is_too_costly(sized(with_scans(20), 7000), LARGEST_PIXELS)
    assert is_too_costly(sized(with_scans(21), 7000), LARGEST_PIXELS)
