import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that lies in this folder is what `make fuzz` repeats."""
    for item in items:
        if "fuzz" in item.path.parts:
            item.add_marker(pytest.mark.fuzz)
