"""Checks that docs/glossary.md names code that exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"^\| ([^|]+?) \| [^|]+ \|(?: `(\w+)` in `(\S+)`)? \|$",
    (ROOT / "docs/glossary.md").read_text(),
    re.MULTILINE,
)
TERMS = [row[0] for row in ROWS]


@pytest.mark.parametrize(
    ("name", "file"), [row[1:] for row in ROWS if row[1]], ids=[row[0] for row in ROWS if row[1]]
)
def test_code_of_each_term_exists(name: str, file: str) -> None:
    """The file that a term names defines the class or function."""
    assert re.search(rf"^\s*(class|def) {name}\b", (ROOT / file).read_text(), re.MULTILINE)


def test_each_term_is_defined_once() -> None:
    """No term is defined twice, and most terms name their code."""
    assert len(TERMS) == len(set(TERMS)) >= 50
    assert sum(1 for row in ROWS if row[1]) > 40
