"""Tests of `klein predict --size`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.commands.size import parse_size
from app.predictions.inputs import Size
from app.predictions.sizes import nearest_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("1024x768", {"width": 1024, "height": 768}), ("square_hd", "square_hd")],
)
def test_size_is_parsed(text, size):
    """A size is two sides or a name."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("300x200", "the width 300 is not a multiple of 16 and the height 200 is not"),
        ("304x200", "the height 200 is not a multiple of 16; the nearest size is 304x208"),
        ("300x208", "the width 300 is not a multiple of 16; the nearest size is 304x208"),
        ("8x64", "the width 8 is less than 64; the nearest size is 64x64"),
        (
            "64x1024",
            "the height 1024 is more than 8 times the width 64; the nearest size is 64x512",
        ),
        ("4096x2048", "4096x2048 has more than 4194304 pixels; the nearest size is 2896x1440"),
    ],
)
def test_invalid_size_names_side_and_nearest_size(text, message):
    """The error names the wrong side and the nearest size that fits."""
    with pytest.raises(ValueError, match=message):
        parse_size(text)


@given(st.integers(-10, 9_999_999), st.integers(-10, 9_999_999))
def test_the_nearest_size_is_one_that_the_server_takes(width, height):
    """The nearest size is valid, and a valid size is its own nearest."""
    nearest = nearest_size(width, height)

    Size(width=nearest[0], height=nearest[1])
    assert nearest_size(*nearest) == nearest


@pytest.mark.parametrize("text", ["big", "300", "300 x 200", "300x", "SQUARE"])
def test_invalid_text_shows_form(text):
    """The error for a text that is not a size shows the form and the names."""
    with pytest.raises(ValueError, match="such as 1024x768, nor one of square_hd, square,"):
        parse_size(text)
