"""Tests of the sizes of edits, reference images and native rendering."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from PIL import Image

from worker.engines.manifest import read_manifest
from worker.engines.size_policy import SizePolicy
from worker.engines.sizes import (
    aspect_box,
    cap_reference_size,
    edit_output_size,
    floor_size,
    native_render_size,
)

sides = st.integers(64, 8000)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1024, 1024), (1024, 1024)),
        ((700, 500), (688, 496)),
        ((65, 64), (64, 64)),
        ((2048, 2048), (1024, 1024)),
        ((4000, 3000), (1168, 880)),
        ((8000, 1000), (2896, 352)),
    ],
)
def test_edit_size_follows_reference(size, expected):
    """An edit has the size of its first reference image, at most one megapixel and floored to multiples of 16."""
    assert edit_output_size(*size) == expected


@given(sides, sides)
def test_edit_size_is_valid_for_pipeline(width, height):
    """For any reference image, the size is in multiples of 16, at least 64 and at most one megapixel."""
    if max(width, height) > 8 * min(width, height):
        return
    out = edit_output_size(width, height)

    assert all(side % 16 == 0 and side >= 64 for side in out)
    assert out[0] * out[1] <= 1024 * 1024


@given(sides, sides)
def test_capped_reference_keeps_aspect(width, height):
    """Capping a reference image changes its aspect ratio by no more than rounding does."""
    capped = cap_reference_size(width, height)

    assert capped[0] * capped[1] <= 1024 * 1024
    assert abs(capped[0] / capped[1] - width / height) <= 2 * width / height / min(capped)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1024, 1024), (128, 128)),
        ((1024, 768), (144, 112)),
        ((576, 1024), (96, 176)),
        ((64, 64), (128, 128)),
        ((2048, 256), (368, 64)),
    ],
)
def test_native_size_keeps_aspect(size, expected):
    """A small model renders near its native area, in the requested aspect ratio."""
    assert native_render_size(*size, native=128, multiple=16) == expected


def test_floored_size_is_at_least_64():
    """A side below 64 becomes 64."""
    assert floor_size(70, 17) == (64, 64)


BUILT_IN = Path(__file__).parents[2] / "worker" / "weights" / "builtin"
small_sides = st.integers(64, 600)


@given(small_sides, small_sides)
@example(500, 333)
@example(163, 78)
@example(600, 75)
def test_edit_is_not_stretched(width, height):
    """A model that returns its reference image gives an edit with the reference's proportions, at any size."""
    assume(max(width, height) <= 8 * min(width, height))
    sizes = SizePolicy(read_manifest(BUILT_IN))
    columns, rows = np.meshgrid(np.arange(width) / width, np.arange(height) / height)
    ramps = np.stack([columns, rows, rows], axis=-1) * 255
    reference = Image.fromarray(ramps.astype(np.uint8))

    output_size = edit_output_size(width, height)
    render_size = sizes.render_size(*output_size)
    rendered = sizes.resize_first_reference(reference, output_size)
    assert rendered.size == render_size
    edit = np.asarray(
        rendered.resize(
            output_size, Image.Resampling.BILINEAR, box=aspect_box(render_size, output_size)
        ),
        np.float64,
    )

    across = np.polyfit(np.arange(output_size[0]), edit[:, :, 0].mean(axis=0), 1)[0] * width
    down = np.polyfit(np.arange(output_size[1]), edit[:, :, 1].mean(axis=1), 1)[0] * height
    assert across == pytest.approx(down, rel=0.04)
