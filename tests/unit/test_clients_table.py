"""The table of clients in docs/clients.md."""

from pathlib import Path

from tests.clients.table import NODE, OPERATIONS, PYTHON, make_table

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"


def test_table_is_that_of_the_tests() -> None:
    """The page has the table that `python -m tests.clients.table` makes, with every client."""
    assert set(OPERATIONS) == {*NODE, *PYTHON}
    assert make_table() in PAGE.read_text()
