"""Prints rows in columns."""

from collections.abc import Sequence

import click


def echo_table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print the headings and the rows, each column as wide as its longest cell."""
    widths = [max(len(row[k]) for row in (headings, *rows)) for k in range(len(headings))]
    for row in (headings, *rows):
        cells = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
