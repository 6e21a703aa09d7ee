from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.klein_server import Klein, running_klein


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of clients as slow, with time to start a server and to download the clients."""
    for item in items:
        if "clients" in item.path.parts:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(400))


@pytest.fixture(scope="module")
def klein(tiny_weights: Path) -> Iterator[Klein]:
    """One running system for the clients of a module."""
    with running_klein(tiny_weights) as running:
        yield running
