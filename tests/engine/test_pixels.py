"""Tests of enlarging the output of a small model: shapes keep their form, and edges are sharp without ringing."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from worker.engines.pixels import pad_to_aspect, resize_flat_art
from worker.engines.sizes import aspect_box, native_render_size

DARK, LIGHT = 20, 230


def disc(width, height, *, middle=None, radius=30, supersampling=8):
    """Return a light disc on a dark background."""
    x, y = middle or (width / 2, height / 2)
    large = Image.new("L", (width * supersampling, height * supersampling), DARK)
    box = [supersampling * v for v in (x - radius, y - radius, x + radius, y + radius)]
    ImageDraw.Draw(large).ellipse(box, LIGHT)
    return np.asarray(large.resize((width, height), Image.Resampling.BOX).convert("RGB"))


@pytest.mark.parametrize("size", [(1024, 768), (768, 1024), (1024, 576), (576, 1024), (512, 512)])
def test_disc_stays_round(size):
    """A disc stays round, although the aspect ratio of the rendered size differs from the requested one."""
    image = resize_flat_art(disc(*native_render_size(*size, native=128, multiple=16)), *size)
    inside = image[..., 0] > (DARK + LIGHT) / 2
    width, height = np.ptp(np.nonzero(inside)[1]), np.ptp(np.nonzero(inside)[0])

    assert image.shape == (size[1], size[0], 3)
    assert abs(width - height) <= 2


def test_edges_are_sharp_without_ringing():
    """No value is outside the input's range, and few are between dark and light."""
    image = resize_flat_art(disc(128, 128), 1024, 1024)

    assert image.min() >= DARK
    assert image.max() <= LIGHT
    between = ((image > DARK + 10) & (image < LIGHT - 10)).mean()
    perimeter_px = 2 * np.pi * 30 * 8
    assert between < 6 * perimeter_px / image[..., 0].size


def test_requested_size_is_unchanged():
    """An image that already has the requested size is returned unchanged."""
    image = disc(128, 96)

    assert resize_flat_art(image, 128, 96) is image


def test_extreme_aspect_is_stretched():
    """An image is cropped to a similar aspect ratio, and not cropped to a very different one."""
    assert aspect_box((368, 64), (2048, 256)) == (0, 0, 368, 64)
    assert aspect_box((144, 112), (1024, 768)) == (0, 2, 144, 110)


@pytest.mark.parametrize("size", [(1024, 768), (576, 1024), (1000, 512), (512, 512)])
def test_padded_reference_keeps_position(size):
    """Padding a reference image and cropping the output keep every part in its position."""
    reference = Image.fromarray(disc(*size, middle=(size[0] / 2, size[1] / 3), radius=120))
    render = native_render_size(*size, native=128, multiple=16)
    padded = pad_to_aspect(reference, render).resize(render, Image.Resampling.LANCZOS)
    back = resize_flat_art(np.asarray(padded), *size).astype(int)

    differs = np.abs(back - np.asarray(reference)) > 100
    assert differs.mean() < 0.01
