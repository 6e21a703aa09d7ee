"""Tests of the check of a weights folder and its manifest."""

import json
import shutil
from pathlib import Path

import pytest

from app.predictions.checkpoint_kind import CheckpointKind
from worker.engines import WeightsError
from worker.engines.folder import inspect_folder
from worker.engines.manifest import Manifest, read_manifest


@pytest.fixture
def weights(tiny_weights, tmp_path):
    """Return a copy that a test may damage."""
    return Path(shutil.copytree(tiny_weights, tmp_path / "weights"))


def test_complete_folder_passes(weights):
    """A complete folder has its kind, name, size and revision."""
    folder = inspect_folder(weights)

    assert folder.kind is CheckpointKind.DISTILLED
    assert folder.manifest.name == "tiny-klein"
    assert folder.size_bytes > 100_000
    assert len(folder.revision) == 64


def test_revision_follows_content(weights):
    """A changed weight changes the revision, and moving the folder does not."""
    before = inspect_folder(weights).revision
    moved = weights.rename(weights.with_name("moved"))
    same = inspect_folder(moved).revision
    file = moved / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)

    assert same == before
    assert inspect_folder(moved).revision != before


def test_wider_transformer_is_9b(weights):
    """A transformer of the 9B model's width makes a checkpoint of that kind, with its licence."""
    config = weights / "transformer" / "config.json"
    wide = {"num_attention_heads": 32, "attention_head_dim": 128}
    config.write_text(json.dumps(json.loads(config.read_text()) | wide))
    (weights / "klein.json").unlink()

    folder = inspect_folder(weights)

    assert folder.kind is CheckpointKind.DISTILLED_9B
    assert folder.manifest.licence == "FLUX Non-Commercial License"


def _truncate(weights: Path) -> None:
    file = weights / "transformer" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _truncate_header(weights: Path) -> None:
    file = weights / "transformer" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:100])


def _large_header(weights: Path) -> None:
    file = weights / "transformer" / "diffusion_pytorch_model.safetensors"
    length = 101 << 20
    with file.open("wb") as stream:
        stream.write(length.to_bytes(8, "little"))
        stream.truncate(8 + length)  # sparse


def _pointer(weights: Path) -> None:
    file = weights / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")


def _pickle_only(weights: Path) -> None:
    (weights / "vae" / "diffusion_pytorch_model.safetensors").rename(weights / "vae" / "model.bin")


def _other_class(weights: Path) -> None:
    (weights / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))


def _no_template(weights: Path) -> None:
    (weights / "tokenizer" / "chat_template.jinja").unlink()


def _bad_manifest(weights: Path) -> None:
    (weights / "klein.json").write_text('{"native_size": "big"}')


def _manifest_not_json(weights: Path) -> None:
    (weights / "klein.json").write_text("{")


def _web_page(weights: Path) -> None:
    (weights / "vae" / "diffusion_pytorch_model.safetensors").write_text("<!DOCTYPE html><html>")


def _dangling_link(weights: Path) -> None:
    file = weights / "vae" / "diffusion_pytorch_model.safetensors"
    file.unlink()
    file.symlink_to("../../blobs/gone")


JSON_FILES = (
    "scheduler/scheduler_config.json",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "transformer/config.json",
    "text_encoder/config.json",
    "vae/config.json",
)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "does not exist"),
        (lambda weights: (weights / "model_index.json").unlink(), "no model_index.json"),
        (lambda weights: (weights / "model_index.json").write_text("["), "not readable JSON"),
        (_other_class, "holds a FluxPipeline, not a Flux2KleinPipeline"),
        (lambda weights: shutil.rmtree(weights / "vae"), "has no vae folder"),
        (_truncate, "is damaged"),
        (_truncate_header, "header is cut off"),
        (_large_header, "has a header of 101 MB, and at most 100 MB are read"),
        (_pointer, "Git LFS pointer"),
        (_pickle_only, "pickles are not loaded"),
        (_no_template, "no chat template"),
        *(
            (lambda weights, file=file: (weights / file).write_text("{"), f"{file} is not readable")
            for file in JSON_FILES
        ),
        *(
            (lambda weights, file=file: (weights / file).write_text("[]"), f"{file} holds no JSON")
            for file in JSON_FILES
        ),
        (
            lambda weights: (weights / "tokenizer" / "tokenizer.json").unlink(),
            "has no tokenizer.json, nor vocab.json and merges.txt",
        ),
        (
            lambda weights: (weights / "scheduler" / "scheduler_config.json").unlink(),
            "has no scheduler_config.json",
        ),
        (_web_page, "is a web page"),
        (_dangling_link, "is a link to a file that does not exist"),
        (_bad_manifest, "native_size must be a positive integer"),
        (_manifest_not_json, "not readable JSON"),
    ],
)
def test_invalid_folder_is_reported_in_one_line(weights, spoil, message):
    """Each problem of a folder has a one-line message with the folder and the reason."""
    spoil(weights)

    with pytest.raises(WeightsError, match=message) as caught:
        inspect_folder(weights)
    assert "\n" not in str(caught.value)
    assert str(weights) in str(caught.value)


def test_manifest_defaults_are_those_of_4b_checkpoint(tmp_path):
    """A folder without klein.json has the manifest of the 4B checkpoint, named after the folder."""
    assert read_manifest(tmp_path) == Manifest(name=tmp_path.name)
    assert Manifest().text_encoder_out_layers == (9, 18, 27)


def test_manifest_ignores_unknown_keys(tmp_path):
    """Known keys are read with their types, and unknown keys are ignored."""
    text = {"name": "small", "render_scaled": True, "text_encoder_out_layers": [1, 2], "new": 1}
    (tmp_path / "klein.json").write_text(json.dumps(text))

    manifest = read_manifest(tmp_path)

    assert manifest == Manifest(name="small", render_scaled=True, text_encoder_out_layers=(1, 2))
