"""A pytest plugin that writes down which test runs, for `tests.support.deadline`; it does nothing where nobody asks for it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = "KLEIN_RUNNING_TESTS"
"""The environment variable with the folder: a file for each process that runs tests, named by its id."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Keep the test's name in a file while the test and its fixtures run."""
    if (folder := os.environ.get(FOLDER)) is None:
        return (yield)
    file = Path(folder, str(os.getpid()))
    file.write_text(item.nodeid)
    try:
        return (yield)
    finally:
        file.unlink(missing_ok=True)
