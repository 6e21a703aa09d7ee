from collections.abc import Iterator

import pytest

from worker.engine_client.client import EngineClient


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineClient]:
    """A real engine process that generates what the prompt says. See tests/support/fake_engine_process.py."""
    with EngineClient(
        tmp_path_factory.mktemp("weights"),
        module="tests.support.fake_engine_process",
        on_line=lambda _: None,
    ) as child:
        child.wait_ready(30)
        yield child
