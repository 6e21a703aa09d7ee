"""Decides whether a text shows anything."""

import unicodedata

_INVISIBLE = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"}
_BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters, marks and symbols without a shape: fillers, joiners, and the empty Braille pattern."""
_SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0), range(0x180B, 0x1810))


def is_blank(text: str) -> bool:
    """Return whether nothing of a text can be seen: only blanks, control, format and zero-width characters."""
    return not any(_is_visible(character) for character in text)


def _is_visible(character: str) -> bool:
    return (
        unicodedata.category(character) not in _INVISIBLE
        and character not in _BLANKS
        and not any(ord(character) in selectors for selectors in _SELECTORS)
    )
