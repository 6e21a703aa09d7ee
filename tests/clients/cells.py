"""Turns a table of clients and operations into test parameters."""

from collections.abc import Mapping

import pytest


def answer_cells(table: Mapping[str, Mapping[str, object]]) -> pytest.MarkDecorator:
    """Parametrise a test by `client`, `operation` and `answer`."""
    return _cells(table, "answer")


def error_cells(table: Mapping[str, Mapping[str, object]]) -> pytest.MarkDecorator:
    """Parametrise a test by `client`, `operation` and `text`, a part of the error."""
    return _cells(table, "text")


def _cells(table: Mapping[str, Mapping[str, object]], value: str) -> pytest.MarkDecorator:
    cells = [
        pytest.param(client, operation, expected, id=f"{client}: {operation}")
        for client, operations in table.items()
        for operation, expected in operations.items()
    ]
    return pytest.mark.parametrize(("client", "operation", value), cells)
