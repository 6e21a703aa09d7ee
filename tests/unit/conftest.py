"""Holds the rule of the unit ring: its tests start no process and load no model library."""

import sys
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from typing import Any

import pytest

MODEL_LIBRARIES = {"torch", "diffusers", "transformers"}


class NoModelLibraries(MetaPathFinder):
    """Refuses to import model libraries. They take seconds to load."""

    def find_spec(self, name: str, *_: Any) -> None:
        """Raise AssertionError for a model library, and leave every other module to the next finder."""
        assert name not in MODEL_LIBRARIES, (
            f"a unit test imports {name}: it belongs in tests/engine"
        )


def refuse(*_: Any, **__: Any) -> None:
    """Raise AssertionError in place of starting a process."""
    pytest.fail("a unit test starts a process: it belongs in tests/integration")


@pytest.fixture(scope="module", autouse=True)
def unit_ring() -> Iterator[None]:
    """Refuse processes and model libraries while the tests of a module run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("subprocess.Popen.__init__", refuse)
        patch.setattr("os.fork", refuse)
        patch.setattr(sys, "meta_path", [NoModelLibraries(), *sys.meta_path])
        yield
