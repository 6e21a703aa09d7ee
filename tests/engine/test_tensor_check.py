"""Tests of the check that refuses a checkpoint with an unknown layout or wrong tensors before it is loaded."""

import json
import shutil
from pathlib import Path

import pytest

from worker.engines import WeightsError
from worker.engines.safetensors_header import read_header
from worker.engines.tensor_check import check_tensors

FILES = {
    "transformer": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
}
COMPONENTS = sorted(FILES)


@pytest.fixture
def weights(tiny_weights, tmp_path):
    """Return a copy that a test may damage."""
    return Path(shutil.copytree(tiny_weights, tmp_path / "weights"))


def rewrite(weights, component, change):
    """Store a component's tensors as `change` returns them."""
    from safetensors.torch import load_file, save_file

    file = weights / component / FILES[component]
    save_file(change(load_file(file)), file)


def refused(weights):
    with pytest.raises(WeightsError) as caught:
        check_tensors(weights)
    message = str(caught.value)
    assert "\n" not in message
    return message


def without(name):
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


def first_linear(tensors):
    return next(
        name for name in sorted(tensors) if name.endswith("weight") and tensors[name].ndim == 2
    )


def test_whole_checkpoints_pass(tiny_weights, tiny_base_weights):
    """Both kinds of checkpoint pass, though their files leave out the tied language model head."""
    check_tensors(tiny_weights)
    check_tensors(tiny_base_weights)


@pytest.mark.parametrize("component", COMPONENTS)
def test_each_missing_tensor_is_named(weights, component):
    """A component without one of its tensors is refused, and the error names the tensor."""
    file = weights / component / FILES[component]
    whole, names = file.read_bytes(), sorted(read_header(file))

    for name in (names[0], names[len(names) // 2], names[-1]):
        rewrite(weights, component, without(name))
        message = refused(weights)
        assert f"{weights / component} lacks 1 tensor of" in message
        assert name in message
        file.write_bytes(whole)
    check_tensors(weights)


def test_an_autoencoder_without_its_statistics_is_refused(weights):
    """An autoencoder without the batch norm's running statistics, which scale every latent, is refused."""
    rewrite(
        weights,
        "vae",
        lambda tensors: {k: t for k, t in tensors.items() if not k.startswith("bn.")},
    )

    assert "bn.running_mean" in refused(weights)


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("suffix", ["weight_scale", "scale_weight", "input_scale", "scale_input"])
def test_scales_are_never_ignored(weights, component, suffix):
    """Weights with scales, under any of their names, are refused, because they are noise without their scales."""
    import torch

    def scaled(tensors):
        name = first_linear(tensors)
        tensors[name] = tensors[name].to(torch.float8_e4m3fn)
        tensors[name.removesuffix("weight") + suffix] = torch.ones(())
        return tensors

    rewrite(weights, component, scaled)

    message = refused(weights)
    assert "quantised weights with scales" in message
    assert suffix in message
    assert str(weights / component) in message


@pytest.mark.parametrize(
    ("rename", "layout"),
    [
        (lambda name: f"model.diffusion_model.{name}", "ComfyUI"),
        (lambda name: name.replace("transformer_blocks", "double_blocks"), "Black Forest Labs"),
        (lambda name: f"{name}.lora_A.weight", "holds a LoRA"),
        (lambda name: f"{name}.absmax", "bitsandbytes"),
        (lambda name: f"odd.{name}", "lacks"),
    ],
)
def test_a_foreign_layout_is_named(weights, rename, layout):
    """The layout of another program is named in the error."""
    rewrite(weights, "transformer", lambda tensors: {rename(k): t for k, t in tensors.items()})

    assert layout in refused(weights)


def test_a_tensor_too_many_is_refused(weights):
    """A tensor that the class does not have is refused instead of being ignored."""

    def with_more(tensors):
        return {**tensors, "extra.weight": tensors[first_linear(tensors)].clone()}

    rewrite(weights, "text_encoder", with_more)

    message = refused(weights)
    assert "holds 1 tensor that Qwen3ForCausalLM does not have: extra.weight" in message


def test_a_tensor_of_another_shape_is_refused(weights):
    """A tensor whose shape differs from config.json is refused."""

    def halved(tensors):
        name = first_linear(tensors)
        return tensors | {name: tensors[name][: len(tensors[name]) // 2].clone()}

    rewrite(weights, "transformer", halved)

    assert "config.json asks for" in refused(weights)


def test_a_text_encoder_without_its_head_passes(weights):
    """A text encoder saved by its base class, without a prefix in its tensor names, passes."""
    rewrite(
        weights,
        "text_encoder",
        lambda tensors: {k.removeprefix("model."): t for k, t in tensors.items()},
    )

    check_tensors(weights)


def test_a_renamed_file_is_refused_with_its_name(weights):
    """A file with a variant name is refused, and the error says how to rename it."""
    file = weights / "transformer" / FILES["transformer"]
    file.rename(file.with_name("diffusion_pytorch_model.fp16.safetensors"))

    message = refused(weights)
    assert "rename diffusion_pytorch_model.fp16.safetensors to " + FILES["transformer"] in message


def test_shards_need_their_index(weights):
    """Shards without their index are refused, and so is an index whose shard is missing."""
    folder = weights / "text_encoder"
    shard = folder / "model-00001-of-00001.safetensors"
    (folder / FILES["text_encoder"]).rename(shard)

    assert "copy model.safetensors.index.json" in refused(weights)

    index = {"weight_map": {"a": shard.name, "b": "model-00002-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks model-00002-of-00001.safetensors" in refused(weights)

    index = {"weight_map": {"a": shard.name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    check_tensors(weights)


def test_a_configuration_that_fits_no_class_is_named(weights):
    """A config.json with values that the class rejects is refused with the name of the class."""
    file = weights / "transformer" / "config.json"
    config = json.loads(file.read_text()) | {"num_layers": "many"}
    file.write_text(json.dumps(config))

    assert "config.json does not fit Flux2Transformer2DModel" in refused(weights)
