"""Checks the form of the decision records in docs/adr."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "adr"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
SECTIONS = ["Context", "Decision", "Alternatives", "Consequences"]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_record_has_all_sections(record: Path) -> None:
    """A record has a number, a title, a date, a status and the four sections, none of them empty."""
    text = record.read_text()

    assert text.startswith(f"# {int(record.name[:4])}. ")
    assert re.search(r"^- Date: \d{4}-\d{2}-\d{2}$", text, re.MULTILINE)
    assert re.search(r"^- Status: (proposed|accepted|superseded by \d{4})$", text, re.MULTILINE)
    assert re.findall(r"^## (.+)\n\n(?=[^#])", text, re.MULTILINE) == SECTIONS


def test_numbers_are_consecutive() -> None:
    """No number is missing or used twice."""
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))


def test_index_lists_each_record() -> None:
    """The table of docs/adr/README.md has each record with its title, in order."""
    listed = re.findall(
        r"^\| \[\d{4}\]\((.+?)\) \| (.+?) \|", (FOLDER / "README.md").read_text(), re.MULTILINE
    )

    assert listed == [
        (record.name, record.read_text().partition("\n")[0].partition(". ")[2])
        for record in RECORDS
    ]
