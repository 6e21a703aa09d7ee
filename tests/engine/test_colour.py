"""Tests of ICC profiles: the colours of a reference image are converted to sRGB."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from worker.engines.references import decode_reference

D50 = (0.9642, 1.0, 0.8249)
# XYZ of red, green and blue, adapted to D50 as ICC.1:2022 stores them, then the gamma
DISPLAY_P3 = ((0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841), 2.2)
ADOBE_RGB = ((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446), 2.2)
PROPHOTO = ((0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249), 1.8)
SRGB_TO_XYZ = np.array(
    [[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7139]]
)


def fixed(value):
    return struct.pack(">i", round(value * 65536))


def matrix_profile(red, green, blue, gamma):
    """Write an ICC profile with three primaries and a gamma (ICC.1:2022, 8.3)."""

    def xyz(values):
        return b"XYZ \0\0\0\0" + b"".join(map(fixed, values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 78
    tags = {
        b"desc": text + b"\0" * (-len(text) % 4),
        b"wtpt": xyz(D50),
        b"rXYZ": xyz(red),
        b"gXYZ": xyz(green),
        b"bXYZ": xyz(blue),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    offset = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        table += name + struct.pack(">II", offset + len(data), len(body))
        data += body
    size = struct.pack(">I", offset + len(data))
    header = size + b"\0\0\0\0\x02\x10\0\0mntrRGB XYZ " + b"\0" * 12 + b"acsp" + b"\0" * 28
    header += b"".join(map(fixed, D50))
    return header.ljust(128, b"\0") + table + data


def grey_profile(gamma):
    profile = bytearray(matrix_profile(*DISPLAY_P3))
    profile[16:20] = b"GRAY"
    return (
        bytes(profile)
        .replace(b"rTRC", b"kTRC")
        .replace(struct.pack(">H", round(2.2 * 256)), struct.pack(">H", round(gamma * 256)))
    )


def expected(colour, red, green, blue, gamma):
    """Return the sRGB value of a colour from 0 to 255, computed from the profile's matrix."""
    xyz = np.array([red, green, blue]).T @ (np.array(colour) / 255) ** gamma
    linear = np.clip(np.linalg.solve(SRGB_TO_XYZ, xyz), 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return encoded * 255


LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "WEBP": {"lossless": True},
    "JPEG": {"quality": 100},
}


def saved(image, file_format="PNG", **options):
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def centre(data):
    image = decode_reference(data)
    return image.getpixel((image.width // 2, image.height // 2))


# Colours inside the sRGB gamut, so that no value is clipped.
@pytest.mark.parametrize("colour", [(120, 130, 110), (200, 180, 160), (90, 110, 140), (40, 44, 48)])
@pytest.mark.parametrize(
    "space", [DISPLAY_P3, ADOBE_RGB, PROPHOTO], ids=["Display P3", "Adobe RGB", "ProPhoto"]
)
@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "JPEG"])
def test_wide_gamut_is_converted_to_srgb(file_format, space, colour):
    """Colours of a wide gamut are within 2.5 levels of the values that the matrices give."""
    options = LOSSLESS[file_format]
    image = Image.new("RGB", (64, 64), colour)
    data = saved(image, file_format, icc_profile=matrix_profile(*space), **options)

    np.testing.assert_allclose(centre(data), expected(colour, *space), atol=2.5)


def test_profile_changes_colours():
    """Without its profile the same file gives other colours, so the test above can fail."""
    colour = (200, 120, 90)
    image = Image.new("RGB", (64, 64), colour)

    assert centre(saved(image)) == colour
    assert centre(saved(image, icc_profile=matrix_profile(*PROPHOTO))) != colour


def test_srgb_profile_changes_nothing():
    """An sRGB profile changes no value."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.new("RGB", (64, 64), (200, 120, 90))

    assert centre(saved(image, icc_profile=profile)) == (200, 120, 90)


def test_transparency_survives_profile():
    """With a wide-gamut profile, a transparent pixel becomes white and a half-transparent one is blended with white."""
    profile = matrix_profile(*ADOBE_RGB)

    assert centre(saved(Image.new("RGBA", (64, 64), (9, 9, 9, 0)), icc_profile=profile)) == (
        255,
        255,
        255,
    )
    half = centre(saved(Image.new("RGBA", (64, 64), (120, 130, 110, 128)), icc_profile=profile))
    np.testing.assert_allclose(half, (expected((120, 130, 110), *ADOBE_RGB) + 255) / 2, atol=2.5)


def test_palette_is_converted_by_profile():
    """The colours of a palette image are converted by its profile."""
    image = Image.new("P", (64, 64), 1)
    image.putpalette([0, 0, 0, 120, 130, 110] + [0] * 750)
    data = saved(image, icc_profile=matrix_profile(*PROPHOTO))

    np.testing.assert_allclose(centre(data), expected((120, 130, 110), *PROPHOTO), atol=2.5)


def test_grey_is_converted_by_profile():
    """A grey of gamma 1.8 becomes lighter in sRGB and stays grey."""
    data = saved(Image.new("L", (64, 64), 100), icc_profile=grey_profile(1.8))

    assert centre(data)[0] > 105
    assert len(set(centre(data))) == 1


@pytest.mark.parametrize(
    "profile",
    [
        b"nonsense",
        b"",
        matrix_profile(*PROPHOTO)[:200],
        matrix_profile(*PROPHOTO).replace(b"RGB XYZ ", b"CMYKXYZ "),
        grey_profile(1.8),
    ],
    ids=["no profile", "empty", "cut off", "of CMYK", "of grey"],
)
def test_invalid_profile_is_ignored(profile):
    """A damaged profile, or one for another colour mode, leaves the colours unchanged."""
    image = Image.new("RGB", (64, 64), (200, 120, 90))

    assert centre(saved(image, icc_profile=profile)) == (200, 120, 90)
