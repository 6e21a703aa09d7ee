from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.abuse.parts import Parts, running_parts
from tests.support.klein_server import Klein, running_klein


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Attacks on whole systems take long: mark them, and give them more time."""
    for item in items:
        if "abuse" not in item.path.parts:
            continue
        item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300))


@pytest.fixture(scope="session")
def klein(tiny_weights: Path) -> Iterator[Klein]:
    """One running system with its default settings, for all attacks that leave nothing behind."""
    with running_klein(tiny_weights, KLEIN_ALLOW_HOSTS="127.0.0.1,localhost") as running:
        yield running


@pytest.fixture
def attacker(client: httpx.Client) -> httpx.Client:
    """A client with the attacker's key."""
    return client


@pytest.fixture
def victim(other_client: httpx.Client) -> httpx.Client:
    """A client with another key."""
    return other_client


@pytest.fixture
def stranger(klein: Klein) -> Iterator[httpx.Client]:
    """A client without a key."""
    with httpx.Client(base_url=klein.url, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="session")
def parts() -> Iterator[Parts]:
    """Processes around an engine without a model, with the default settings."""
    with running_parts() as running:
        yield running
