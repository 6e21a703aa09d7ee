from collections.abc import Iterator

import pytest

from worker.supervise import EngineChild


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineChild]:
    """A real engine process that draws what the prompt says; see tests/fake_child.py."""
    with EngineChild(
        tmp_path_factory.mktemp("weights"), module="tests.fake_child", on_line=lambda _: None
    ) as child:
        child.wait_ready(30)
        yield child
