"""Marks the fuzz tests and sets their timeouts."""

import pytest

TIMEOUTS_S = {"long": 900}
SHORT_S = 60


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark every test of this folder as `fuzz`, and give it a longer timeout, because it runs many cases."""
    timeout_s = TIMEOUTS_S.get(config.getoption("--hypothesis-profile"), SHORT_S)
    for item in items:
        if "fuzz" in item.path.parts:
            item.add_marker(pytest.mark.fuzz)
            item.add_marker(pytest.mark.timeout(timeout_s))
