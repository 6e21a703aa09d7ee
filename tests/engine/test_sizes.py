"""Tests of the sizes of edits, reference images and native rendering."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.engines.sizes import (
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
def test_edit_takes_the_reference_grid(size, expected):
    """An edit has the size of its first reference image, at most one megapixel and floored to multiples of 16."""
    assert edit_output_size(*size) == expected


@given(sides, sides)
def test_edit_size_is_what_the_pipeline_renders(width, height):
    """For any reference image, the size is in multiples of 16, at least 64 and at most one megapixel."""
    if max(width, height) > 8 * min(width, height):
        return
    out = edit_output_size(width, height)

    assert all(side % 16 == 0 and side >= 64 for side in out)
    assert out[0] * out[1] <= 1024 * 1024


@given(sides, sides)
def test_capped_reference_keeps_its_aspect(width, height):
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
def test_native_size_keeps_the_aspect(size, expected):
    """A small model renders near its native area, in the requested aspect ratio."""
    assert native_render_size(*size, native=128, multiple=16) == expected


def test_floor_never_goes_below_64():
    """A side below 64 becomes 64."""
    assert floor_size(70, 17) == (64, 64)
