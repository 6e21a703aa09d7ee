"""Tests of docs/loras.md: each row of its tables, with files that hold the same weight changes in every spelling."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from app.loras.errors import IncompatibleLora
from app.loras.header import read_header
from app.loras.module_names import ModuleNames
from tests.support.lora_spellings import (
    REFERENCES,
    REFUSALS,
    SPELLINGS,
    layers,
    write_refusal,
    write_spelling,
)
from worker.engines.errors import WeightsError
from worker.engines.lora_file import read_lora
from worker.engines.tensor_file import open_tensor_file

DOCS = (Path(__file__).parents[2] / "docs" / "loras.md").read_text()
LINEARS = {
    name: (layer.rows // len(layer.ours), layer.columns)
    for layer in layers()
    for name in layer.ours
}
NAMES = ModuleNames(LINEARS)


def changes(file: Path) -> dict[str, torch.Tensor]:
    """Return the change of each weight."""
    changed = {}
    for layer, deltas in read_lora(file, NAMES).items():
        changed[layer] = torch.zeros(LINEARS[layer])
        for delta in deltas:
            delta.add_to(changed[layer], 1.0)
    return changed


def decibels(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the peak signal-to-noise ratio of two matrices."""
    error = float(((one - other) ** 2).mean())
    return math.inf if not error else 10 * math.log10(float(other.abs().max()) ** 2 / error)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("references")
    for kind, make in REFERENCES.items():
        save_file(make(), folder / kind)
    return {kind: changes(folder / kind) for kind in REFERENCES}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spelling_gives_same_weights(expected, tmp_path, name):
    """Each spelling changes the same weights by the same numbers as the diffusers form."""
    changed = changes(write_spelling(tmp_path, name))
    reference = expected[SPELLINGS[name].kind]

    assert changed.keys() == reference.keys()
    assert min(decibels(changed[layer], reference[layer]) for layer in changed) > 99


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal_names_reason_and_tensor(tmp_path, name):
    """Each file that is not wholly understood is refused with its reason and one of its tensors."""
    file = write_refusal(tmp_path, name)
    with pytest.raises(IncompatibleLora, match=REFUSALS[name][1]) as refused:
        read_lora(file, NAMES)

    assert any(key in str(refused.value) for key in REFUSALS[name][0]())
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"PK\x03\x04" + bytes(30), "PyTorch pickle"),
        (b"\x80\x02" + bytes(30), "PyTorch pickle"),
        (b"\xff" * 40, "cut off"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b'{"error": "not found"}', "JSON"),
        (b"GGUF\x03\0\0\0" + bytes(40), "a GGUF file"),
        (b"\x02" + bytes(7) + b"[]", "no safetensors file"),
        ((17 << 20).to_bytes(8, "little") + bytes(17 << 20), "17 MB, and at most 16 MB are read"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_other_file_is_named(tmp_path, start, reason):
    """A file of another kind is refused by its kind."""
    file = tmp_path / "a.safetensors"
    file.write_bytes(start)

    with pytest.raises(IncompatibleLora, match=reason):
        read_lora(file, NAMES)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda header, name: header[name].update(data_offsets=[0, 4]),
        lambda header, name: header[name].update(data_offsets=[-8, 8]),
        lambda header, name: header[name].update(dtype="new", data_offsets=[0, float("inf")]),
        lambda header, name: header[name].update(shape=[2, 2]),
        lambda header, _: header.update(__metadata__=5),
        lambda header, _: header.update(__metadata__={"a": 5}),
    ],
    ids=["overlap", "negative", "infinity", "other shape", "metadata", "number in metadata"],
)
def test_header_that_safetensors_refuses_is_refused_early(tmp_path, spoil):
    """What the library of safetensors refuses, klein refuses by the header: of a LoRA at the create, of a checkpoint before it is loaded."""
    file = write_spelling(tmp_path, "diffusers")
    data = file.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    spoil(header, next(name for name in header if name != "__metadata__"))
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])

    reason = "is no safetensors file|is damaged"
    with pytest.raises(IncompatibleLora, match=f"^it ({reason})"):
        read_header(file)
    with pytest.raises(WeightsError, match=f"^{file} ({reason})"):
        open_tensor_file(file)


@pytest.mark.parametrize("start", [b"{\0", b"\x80\x02", b"\x80\x04"])
def test_header_may_have_any_length(tmp_path, start):
    """A file whose header's length begins with the bytes of JSON or of a pickle is still one of safetensors."""
    file = write_spelling(tmp_path, "diffusers")
    data = file.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    text = data[8:end].ljust(int.from_bytes(start, "little") + 65_536 * (end // 65_536 + 1))
    file.write_bytes(len(text).to_bytes(8, "little") + text + data[end:])

    assert file.read_bytes().startswith(start)
    assert changes(file)
    assert open_tensor_file(file).tensors


def test_tables_of_documentation_are_complete():
    """docs/loras.md has a row for each spelling and each refusal, and no other rows."""
    rows = re.findall(r"^\| ([^|`]+?) \|(?:.*\|)? (applied|refused)", DOCS, re.MULTILINE)

    assert [name for name, outcome in rows if outcome == "applied"] == list(SPELLINGS)
    assert [name for name, outcome in rows if outcome == "refused"] == list(REFUSALS)
