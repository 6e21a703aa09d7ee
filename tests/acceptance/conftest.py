from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.acceptance.klein import Klein, running_klein


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start processes may take a minute."""
    for item in items:
        if "acceptance" in item.path.parts and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(60))


@pytest.fixture(scope="session")
def klein(tiny_weights: Path) -> Iterator[Klein]:
    """One running system for all tests that do not harm it."""
    with running_klein(tiny_weights) as running:
        yield running


@pytest.fixture
def client(klein: Klein) -> Iterator[httpx.Client]:
    with klein.client() as client:
        yield client
