"""Tests that any file is refused with an ImageRejected, or opened by the engine with the size that the API determines."""

import io
import struct
import time
import zlib
from contextlib import contextmanager, suppress

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from app.images.check import check_image
from app.images.errors import ImageRejected
from app.images.mask import WHITE_IS_REDRAWN, MaskReading, read_mask
from tests.fuzz.mutation import mutated
from worker.engines.references import decode_mask, decode_reference

READINGS = [WHITE_IS_REDRAWN, MaskReading(is_alpha=True, is_inverted=True, blur_px=3)]
CPU_S = 10.0  # 50 megapixels take far less


def save(file_format, mode="RGB", **options):
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (72, 96, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(file, file_format, **options)
    return file.getvalue()


def tagged(*tags, order="<", version=42):
    """Write EXIF with any tags, each as (number, type, count, value or offset)."""
    start = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", version, 8, len(tags))
    return b"Exif\0\0" + start + b"".join(struct.pack(f"{order}HHII", *t) for t in tags) + PADDING


PADDING = bytes(4) + bytes(range(1, 100))
TURNED = tagged((0x0112, 3, 1, 6))
MORE = [Image.new("RGB", (96, 72), "red")]
GOOD = [
    save("PNG"),
    save("PNG", "P", transparency=3),
    save("PNG", "I;16"),
    save("PNG", "LA", exif=TURNED),
    save("PNG", save_all=True, append_images=MORE),
    save("JPEG", exif=TURNED),
    save("JPEG", "CMYK"),
    save("JPEG", "L", progressive=True),
    save("JPEG", progressive=True, restart_marker_blocks=4),
    save("JPEG", icc_profile=bytes(300), comment=b"hello"),
    save("MPO", save_all=True, append_images=MORE),
    save("WEBP", exif=TURNED),
    save("WEBP", "RGBA", lossless=True),
    save("WEBP", save_all=True, append_images=MORE),
    save("GIF", save_all=True, append_images=MORE),
    save("AVIF"),
    save("BMP"),
    save("TIFF", compression="tiff_lzw"),
    save("ICO"),
    save("JPEG2000"),
]
TAGS = st.tuples(
    st.sampled_from([0x0112, 0x010E, 0x011A, 0x0100, 0x8769, 0x8825, 0xA005, 0x014A, 0x0213])
    | st.integers(0, 65535),
    st.integers(0, 19),
    st.sampled_from([0, 1, 2, 9]) | st.integers(0, 2**32 - 1),
    st.integers(0, 120) | st.integers(0, 2**32 - 1),
)


@contextmanager
def bounded():
    """Fail if the block takes too much CPU time. Other processes do not count."""
    began = time.process_time()
    yield
    assert time.process_time() - began < CPU_S


def check_and_open(data):
    """Check a file, and let the engine open it if it passes."""
    with bounded(), suppress(ImageRejected):
        info = check_image(data, largest_pixels=10_000_000)
        opened = decode_reference(data)
        assert (opened.mode, opened.size) == ("RGB", (info.width, info.height))
        for reading in READINGS:
            with suppress(ImageRejected):
                assert decode_mask(read_mask(data, reading)[1]).getbbox()


def with_checksums(data):
    """Correct the checksums of a PNG's chunks, so that their content is read."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        out += data[at:end] + struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(out)


@given(data=mutated(GOOD), has_checksums=st.booleans())
@example(data=GOOD[0][:35] + b"\0" + GOOD[0][36:], has_checksums=False)  # Pillow raises SyntaxError
@example(data=GOOD[0][:11] + b"\0" + GOOD[0][12:], has_checksums=False)  # Pillow raises ValueError
@example(data=GOOD[3].replace(b"II*\0", b"II+\0"), has_checksums=True)  # Pillow raises struct.error
def test_damaged_image_is_refused_or_opened(data, has_checksums):
    """A damaged file, with or without correct checksums, is refused or opened with the right size."""
    check_and_open(with_checksums(data) if has_checksums and data.startswith(b"\x89PNG") else data)


@given(st.binary(max_size=200), st.sampled_from([b"", *(data[:20] for data in GOOD)]))
def test_random_bytes_are_refused(data, head):
    """Random bytes after the beginning of an image are refused, or opened if they form an image."""
    check_and_open(head + data)


@given(
    width=st.integers(0, 2**32 - 1),
    height=st.integers(0, 2**32 - 1),
    rest=st.tuples(st.sampled_from([1, 2, 4, 8, 16]), st.integers(0, 7), *[st.integers(0, 1)] * 3),
)
@example(width=30_000, height=30_000, rest=(8, 2, 0, 0, 0))
def test_png_with_false_size_is_bounded(width, height, rest):
    """A PNG that claims any size and depth without having the pixels is handled within the CPU limit."""
    header = struct.pack(">II5B", width, height, *rest)
    check_and_open(with_checksums(GOOD[0][:16] + header + GOOD[0][29:]))


@given(
    data=st.sampled_from([save(kind) for kind in ("PNG", "JPEG", "WEBP")]),
    tags=st.lists(TAGS, max_size=5),
    turn=st.integers(0, 9),
    order=st.sampled_from("<>"),
    version=st.sampled_from([42, 42, 42, 43, 0, 255]),
)
def test_any_exif_is_refused_or_opened(data, tags, turn, order, version):
    """An image with any EXIF tags is refused, or opened with its upright size."""
    first = (0x0112, 3, 1, turn if order == "<" else turn << 16)
    exif = tagged(first, *tags, order=order, version=version)
    file = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.save(file, image.format, exif=exif)

    check_and_open(file.getvalue())
