"""Tests that any LoRA file is applied or refused with its name, and that the model is unchanged afterwards."""

import json
import struct
from typing import Any, cast

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import save_file

from tests.fuzz.mutation import mutated
from tests.support.lora_files import TINY_TARGETS, write_lora
from worker.engines import Lora, UnusableLora, open_engine
from worker.engines.flux2_klein import Flux2KleinEngine
from worker.engines.lora_manager import LoraManager

pytestmark = pytest.mark.usefixtures("one_thread")
NAME = "a.safetensors"
LONGEST = 300  # characters in an error message
SUFFIXES = ["lora_A.weight", "lora_B.weight", "lora_down.weight", "lora_up.weight", "alpha", "lokr_w1", "lokr_w2", "lokr_w1_a", "lokr_w1_b", "dora_scale", "lora_A.bias", "diff"]  # fmt: skip
KEYS = st.builds(
    "{}{}.{}".format,
    st.sampled_from(["transformer.", "diffusion_model.", "", "lora_unet_", "base_model.model.", "lycoris_"]),
    st.sampled_from([*TINY_TARGETS, "double_blocks.0.img_attn.proj", "double_blocks.0.img_attn.qkv", "single_blocks.0.linear2", "x_embedder", "nothing"]),
    st.sampled_from(SUFFIXES),
)  # fmt: skip
SIDES = st.sampled_from([0, 1, 2, 4, 8, 32, 96, 128])
BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "U8": 1, "BOOL": 1, "F8_E4M3": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("loras")


@pytest.fixture(scope="module")
def good(folder):
    """Return the bytes of valid files: a LoRA in two namings, and a LoKr."""
    write_lora(folder / NAME)
    write_lora(folder / "b", prefix="diffusion_model")
    lokr = {"lokr_w1": torch.ones(4, 4), "lokr_w2": torch.ones(8, 8)}
    save_file({f"transformer.{TINY_TARGETS[0]}.{k}": v for k, v in lokr.items()}, folder / "c")
    return [(folder / name).read_bytes() for name in (NAME, "b", "c")]


@pytest.fixture(scope="module")
def pipe(tiny_weights):
    return cast("Flux2KleinEngine", open_engine(tiny_weights)).model.pipe


def check_file(pipe, folder, data, is_usable=None):
    """Apply a file, and check that the model is unchanged afterwards. `is_usable` says whether the file must be applied."""
    manager = LoraManager(pipe, folder)
    before = {name: weight.clone() for name, weight in pipe.transformer.named_parameters()}
    (folder / NAME).write_bytes(data)
    try:
        manager.apply([Lora(path=NAME, scale=1.0)])
    except UnusableLora as refused:
        message = str(refused)
        is_correct = (
            message.startswith(f"LoRA {NAME}: ") and "\n" not in message and len(message) < LONGEST
        )
        is_correct = is_correct and is_usable is not True
    else:
        is_correct = all(bool(weight.isfinite().all()) for weight in pipe.transformer.parameters())
        is_correct = is_correct and is_usable is not False
    manager.clear()

    assert is_correct
    after = dict(pipe.transformer.named_parameters())
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())


def fitting(alpha="2", size=1.0):
    """Write a valid file with any alpha and numbers of any size."""
    target = TINY_TARGETS[0]
    config = f'{{"transformer.r": 2, "transformer.lora_alpha": {alpha}, "transformer.target_modules": ["{target}"]}}'
    header: dict[str, Any] = {"__metadata__": {"lora_adapter_metadata": config}}
    for k, (letter, shape) in enumerate((("A", [2, 32]), ("B", [32, 2]))):
        entry = {"dtype": "F32", "shape": shape, "data_offsets": [256 * k, 256 * (k + 1)]}
        header[f"transformer.{target}.lora_{letter}.weight"] = entry
    return written(header, struct.pack("<f", size) * 128)


@pytest.mark.parametrize("alpha", ["Infinity", "NaN", "1e300", "1e38", "-1e39", '"x"', "[1]"])
def test_invalid_alpha_is_refused(pipe, folder, alpha):
    """An alpha in the metadata that is not a usable number is refused."""
    check_file(pipe, folder, fitting(), is_usable=True)
    check_file(pipe, folder, fitting(alpha), is_usable=False)


def test_overflowing_numbers_are_refused(pipe, folder):
    """Finite numbers whose product overflows are refused."""
    check_file(pipe, folder, fitting(size=1e30), is_usable=False)


@given(data=st.data())
def test_damaged_lora_is_applied_or_refused(pipe, folder, good, data):
    """A valid file that is damaged in its header or its numbers is applied or refused."""
    check_file(pipe, folder, data.draw(mutated(good)))


def written(header: bytes | dict[str, Any], numbers: bytes) -> bytes:
    """Write a safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


@st.composite
def any_file(draw: st.DrawFn) -> bytes:
    """Draw a file whose header names any tensors, at offsets that may be wrong."""
    header: dict[str, Any] = {}
    at = 0
    for key in draw(st.lists(KEYS, max_size=5, unique=True)):
        dtype = draw(st.sampled_from(list(BYTES)))
        shape = draw(st.lists(SIDES, max_size=3))
        size = BYTES[dtype] * int(torch.Size(shape).numel())
        if size > 100_000:
            continue
        header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    for entry in header.values():
        if draw(st.integers(0, 9)) == 0:
            entry[draw(st.sampled_from(["shape", "data_offsets", "dtype"]))] = draw(
                st.lists(st.integers(0, 2**64), max_size=3) | st.sampled_from(["F4", None, {}])
            )
    if draw(st.booleans()):
        config = {"r": 2, "lora_alpha": draw(st.sampled_from([1, 0, -1, 1e38, "x", None])), "target_modules": list(TINY_TARGETS)}  # fmt: skip
        prefixed = {f"transformer.{name}": value for name, value in config.items()}
        texts = st.sampled_from(
            [json.dumps(prefixed), "{", "[]", "null", "", '{"transformer.r": {}}']
        )
        header["__metadata__"] = {"lora_adapter_metadata": draw(texts)}
    numbers = draw(st.sampled_from([b"\0", b"\x3f", b"\xff", b"\x7f\x80"])) * at
    return written(header, numbers[:at])


@given(any_file())
@example(struct.pack("<Q", 2**63))
@example(struct.pack("<Q", 2) + b"[]")
@example(written(b'{"a":' * 5000, b""))
def test_any_header_is_applied_or_refused(pipe, folder, data):
    """A file with any header is applied or refused."""
    check_file(pipe, folder, data)
