from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu-weights", type=Path, help="a folder that benchmarks.full_size wrote")
