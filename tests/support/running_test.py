"""A pytest plugin that records which test is running, for `tests.support.deadline`. Inactive unless its variable is set."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = "KLEIN_RUNNING_TESTS"
"""The environment variable with the folder. Each process that runs tests writes one file, named by its process id."""


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
