"""Tests of `klein predict --size`."""

import pytest

from app.commands.size import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("1024x768", {"width": 1024, "height": 768}), ("square_hd", "square_hd")],
)
def test_sizes_are_read(text, size):
    """A size is two sides or a name."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("300x200", "the width 300 is not a multiple of 16 and the height 200 is not"),
        ("304x200", "the height 200 is not a multiple of 16; the nearest size is 304x208"),
        ("300x208", "the width 300 is not a multiple of 16; the nearest size is 304x208"),
        ("8x64", "the width 8 is less than 64; the nearest size is 64x64"),
    ],
)
def test_a_wrong_size_names_the_side_and_the_nearest_size(text, message):
    """The error names the wrong side and the nearest size that fits."""
    with pytest.raises(ValueError, match=message):
        parse_size(text)


@pytest.mark.parametrize("text", ["big", "300", "300 x 200", "300x", "SQUARE"])
def test_nonsense_shows_the_right_form(text):
    """The error for a text that is not a size shows the form and the names."""
    with pytest.raises(ValueError, match="such as 1024x768, nor one of square_hd, square,"):
        parse_size(text)
