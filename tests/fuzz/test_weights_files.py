"""Tests that any weights file is loaded or refused with its name in one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.mutation import mutated
from tests.support import layouts
from worker.engines.component import check_component, load_component
from worker.engines.errors import WeightsError
from worker.engines.sources import find_sources
from worker.engines.tensor_names import Component

pytestmark = pytest.mark.usefixtures("one_thread")
LONGEST = 1000  # characters in an error message


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def good(tiny_weights, folder):
    """Return the bytes of valid files: in bf16, fp8 and nvfp4, and GGUF."""
    bfl = layouts.to_bfl(layouts.load(tiny_weights, "transformer"))
    files = [
        layouts.save(bfl, folder / "plain"),
        layouts.save(layouts.to_fp8(bfl), folder / "fp8"),
        layouts.save(layouts.to_nvfp4(bfl, comfy=True), folder / "nvfp4"),
        layouts.write_gguf(bfl, folder / "gguf", lambda _: "F16"),
    ]
    return [file.read_bytes() for file in files]


def check_file(weights, file, data):
    """Load a transformer, or refuse it in one line that names the file."""
    import torch

    file.write_bytes(data)
    message = ""
    try:
        source = find_sources(weights, {Component.TRANSFORMER: file}).components[0]
        check_component(source)
        load_component(source, torch.float32)
    except WeightsError as refused:
        message = str(refused)

    assert not message or str(file) in message
    assert "\n" not in message
    assert len(message) < LONGEST


@given(data=st.data())
def test_damaged_file_is_loaded_or_refused(tiny_weights, folder, good, data):
    """A valid file that is damaged anywhere is loaded or refused."""
    check_file(tiny_weights, folder / "file.safetensors", data.draw(mutated(good)))


@given(
    data=st.one_of(
        st.binary(max_size=300), st.binary(max_size=300).map(lambda b: b"GGUF\3\0\0\0" + b)
    )
)
def test_any_bytes_are_refused(tiny_weights, folder, data):
    """Bytes that are no weights file are refused."""
    check_file(tiny_weights, folder / "file.safetensors", data)
