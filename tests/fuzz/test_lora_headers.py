"""Tests that any file, path or listing of a LoRA is understood or refused with a message, before torch sees it."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.loras.errors import IncompatibleLora
from app.loras.library import inspect_file
from app.loras.names import is_safe_name
from app.loras.sources import HubFile, choose_file, is_url, parse_repository, permits_host
from app.loras.strength import read_config
from app.loras.transformer import PUBLISHED
from app.loras.trigger_words import read_trigger_words
from tests.fuzz.mutation import mutated
from tests.fuzz.test_loras import any_file, written
from tests.support.lora_headers import lora_shapes, write_header

LAYER = "transformer.single_transformer_blocks.3.attn.to_out"
KLEIN = PUBLISHED["FLUX.2-klein-4B"]
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
CONFIG_FIELDS = ["peft_type", "r", "lora_alpha", "alpha", "alpha_pattern", "rank_pattern", "use_rslora", "use_dora"]  # fmt: skip


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("headers") / "adapter_model.safetensors"


@pytest.fixture(scope="module")
def good(file):
    return [write_header(file, lora_shapes(LAYER, 3072, 12288), {"trigger_word": "a"}).read_bytes()]


def check_file(file, data):
    """Check that a file is understood, or refused with a message that any client can read."""
    file.write_bytes(data)
    info = inspect_file(file)
    reason = info.why_unfit(KLEIN)
    assert reason is None or (len(reason) < 400 and reason.isprintable())
    assert all(word.isprintable() for word in info.trigger_words)


@given(data=st.data())
def test_damaged_header_is_refused(file, good, data):
    """A damaged file fits, or has a reason."""
    check_file(file, data.draw(mutated(good)))


@given(any_file())
@example(written(b'{"a.lora_A.weight": {"dtype": "\\ud800", "shape": [1, 1], "data_offsets": [0, 4]}}', bytes(4)))  # fmt: skip
@example(written(b'{"a": {"dtype": "F32", "shape": null, "data_offsets": [0, 0]}}', b""))
@example(written(b'{"__metadata__": [], "a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', bytes(4)))  # fmt: skip
def test_false_header_is_refused(file, data):
    """A file with any header fits, or has a reason."""
    check_file(file, data)


@given(st.dictionaries(st.sampled_from(CONFIG_FIELDS), JSON) | JSON)
@example({"alpha_pattern": {"(a+)+": 1}})
@example({"rank_pattern": {"x": 0}, "r": -1, "use_rslora": True})
def test_any_configuration_is_read_or_refused(config):
    """Any adapter configuration gives a strength, or is refused."""
    with suppress(IncompatibleLora):
        read = read_config({}, json.dumps(config).encode())
        if read is not None:
            read.scaling("a" * 200, None)


@given(st.dictionaries(st.sampled_from(["trigger_words", "ss_tag_frequency", "trigger"]), st.text() | JSON.map(json.dumps)))  # fmt: skip
def test_any_metadata_gives_words(metadata):
    """Any metadata gives a short list of words."""
    words = read_trigger_words(metadata)

    assert len(words) <= 10
    assert all(word.isprintable() and len(word) <= 100 for word in words)


@given(st.text() | st.from_regex(r"(hf:)?[\w./-]{1,20}/[\w./%-]{1,20}"))
def test_any_path_is_sorted(path):
    """Any path is a URL, a repository, a safe name, or neither. A repository stays on its hub."""
    repository = parse_repository(path)
    if repository is not None:
        url = repository.url("https://hub", repository.file or "a.safetensors")
        assert permits_host(url, ("hub",), "https://hub")
        assert "/../" not in url
    if is_safe_name(path):
        assert not is_url(path)
        assert ".." not in path.split("/")


@given(JSON | st.builds(lambda files: {"siblings": files}, st.lists(JSON | st.builds(lambda name: {"rfilename": name}, st.text()))))  # fmt: skip
def test_any_listing_gives_file_or_reason(listing):
    """Any answer of the hub gives a file, or a reason."""
    try:
        assert choose_file(listing).lower().endswith(".safetensors")
    except IncompatibleLora:
        return


def test_quadratic_pattern_is_refused():
    """A pattern that could take for ever is refused."""
    with pytest.raises(IncompatibleLora, match="too complex"):
        read_config({}, b'{"alpha_pattern": {"(a*)*b": 1}}')


def test_url_of_hub_file_is_quoted():
    """The name of a file cannot change the query of its URL."""
    file = HubFile(owner="o", name="n", file="a b?x=1.safetensors")

    assert file.url("https://hub", "a b?x=1.safetensors").endswith("/a%20b%3Fx%3D1.safetensors")
