import pytest

from tests.support.tiny_weights import make_tiny_weights
from worker.engines import Engine, open_engine


@pytest.fixture(scope="module")
def scaled_engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """An engine whose checkpoint renders at 96 pixels and scales to the requested size."""
    folder = tmp_path_factory.mktemp("scaled") / "weights"
    return open_engine(make_tiny_weights(folder, render_scaled=True, native_size=96))
