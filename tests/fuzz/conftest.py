import pytest

TIMEOUTS_S = {"long": 900}
SHORT_S = 60


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """All that lies in this folder is what `make fuzz` repeats; each test is many, and may take longer."""
    timeout_s = TIMEOUTS_S.get(config.getoption("--hypothesis-profile"), SHORT_S)
    for item in items:
        if "fuzz" in item.path.parts:
            item.add_marker(pytest.mark.fuzz)
            item.add_marker(pytest.mark.timeout(timeout_s))
