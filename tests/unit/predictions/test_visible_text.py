"""Tests of which prompts are blank."""

import pytest

from app.predictions.visible_text import is_blank


@pytest.mark.parametrize(
    "text",
    ["", " \t\n", "\u200b\u200c\u200d\ufeff", "\u2060\u00ad", "\u3164\uffa0", "\u2800", "\ufe0f", "\U000e0041", "\0\x7f", "\u202e", "\ue000"],
)  # fmt: skip
def test_text_without_visible_characters_is_blank(text):
    """Blanks, zero-width characters, fillers, tags and control characters show nothing."""
    assert is_blank(text)


@pytest.mark.parametrize("text", ["a", "\u200bж", ".", "❤\ufe0f", "水", "👩\u200d🎨", "́e"])
def test_text_with_visible_character_is_not_blank(text):
    """One letter, sign or emoji of any script is enough."""
    assert not is_blank(text)
