"""A pytest plugin that ends a run cleanly on SIGTERM, and records for `tests.support.deadline` which test is running."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = "KLEIN_RUNNING_TESTS"
"""The environment variable with the folder. Each process that runs tests writes one file, named by its process id."""


def pytest_configure() -> None:
    """Let SIGTERM end the run as Ctrl-C does, so that fixtures end their processes."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


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
