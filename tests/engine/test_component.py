"""Tests of the check that refuses a checkpoint with an unknown layout or wrong tensors before it is loaded."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from worker.engines import WeightsError
from worker.engines.component import check_component, load_component
from worker.engines.safetensors_header import read_header
from worker.engines.sources import find_sources

FILES = {
    "transformer": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
}
COMPONENTS = sorted(FILES)


def check_tensors(weights):
    """Check every component, as a worker does before it loads one."""
    for source in find_sources(weights, {}).components:
        check_component(source)


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


def test_complete_checkpoints_pass(tiny_weights, tiny_base_weights):
    """Both kinds of checkpoint pass, though their files leave out the tied language model head."""
    check_tensors(tiny_weights)
    check_tensors(tiny_base_weights)


@pytest.mark.parametrize("component", COMPONENTS)
def test_missing_tensor_is_named(weights, component):
    """A component without one of its tensors is refused, and the error names the tensor."""
    file = weights / component / FILES[component]
    whole = file.read_bytes()
    # Counts training steps, and no image depends on it.
    names = sorted(read_header(file).keys() - {"bn.num_batches_tracked"})

    for name in (names[0], names[len(names) // 2], names[-1]):
        rewrite(weights, component, without(name))
        message = refused(weights)
        assert f"{weights / component} lacks 1 tensor of" in message
        assert name in message
        file.write_bytes(whole)
    check_tensors(weights)


def test_autoencoder_without_statistics_is_refused(weights):
    """An autoencoder without the batch norm's running statistics, which scale every latent, is refused."""
    rewrite(
        weights,
        "vae",
        lambda tensors: {k: t for k, t in tensors.items() if not k.startswith("bn.")},
    )

    assert "bn.running_mean" in refused(weights)


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("suffix", ["weight_scale", "scale_weight", "weight_scale_inv"])
def test_scales_are_applied(weights, component, suffix):
    """A weight with a scale, under any of its names, is loaded with the scale applied."""
    import torch

    names = []

    def scaled(tensors):
        name = first_linear(tensors)
        tensors[name] = torch.full_like(tensors[name], 2).to(torch.float8_e4m3fn)
        tensors[name.removesuffix("weight") + suffix] = torch.tensor(0.25)
        names.append(name)
        return tensors

    rewrite(weights, component, scaled)
    source = next(s for s in find_sources(weights, {}).components if s.component == component)

    loaded = load_component(source, torch.float32).state_dict()
    assert torch.equal(loaded[names[0]], torch.full_like(loaded[names[0]], 0.5))


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("suffix", ["input_scale", "scale_input", "weight_scale_2"])
def test_weight_without_scale_is_refused(weights, component, suffix):
    """A quantised weight whose own scale is missing is refused by name, because it is noise without it."""
    import torch

    def scaled(tensors):
        name = first_linear(tensors)
        tensors[name] = tensors[name].to(torch.float8_e4m3fn)
        tensors[name.removesuffix("weight") + suffix] = torch.ones(())
        return tensors

    rewrite(weights, component, scaled)

    message = refused(weights)
    assert "weight has no scale" in message
    assert str(weights / component) in message


@pytest.mark.parametrize(
    ("rename", "layout"),
    [
        (
            lambda name: name.replace("transformer_blocks", "double_blocks"),
            "are not those of a FLUX.2",
        ),
        (lambda name: f"{name}.lora_A.weight", "holds a LoRA"),
        (lambda name: f"{name}.absmax", "bitsandbytes"),
        (lambda name: f"odd.{name}", "lacks"),
    ],
)
def test_foreign_layout_is_named(weights, rename, layout):
    """The layout of another program is named in the error."""
    rewrite(weights, "transformer", lambda tensors: {rename(k): t for k, t in tensors.items()})

    assert layout in refused(weights)


def test_extra_tensor_is_refused(weights):
    """A tensor that the class does not have is refused instead of being ignored."""

    def with_more(tensors):
        return {**tensors, "extra.weight": tensors[first_linear(tensors)].clone()}

    rewrite(weights, "text_encoder", with_more)

    message = refused(weights)
    assert "holds 1 tensor that Qwen3ForCausalLM does not have: extra.weight" in message


def test_tensor_of_wrong_shape_is_refused(weights):
    """A tensor whose shape differs from config.json is refused."""

    def halved(tensors):
        name = first_linear(tensors)
        return tensors | {name: tensors[name][: len(tensors[name]) // 2].clone()}

    rewrite(weights, "transformer", halved)

    assert "config.json asks for" in refused(weights)


def test_text_encoder_without_head_passes(weights):
    """A text encoder saved by its base class, without a prefix in its tensor names, passes."""
    rewrite(
        weights,
        "text_encoder",
        lambda tensors: {k.removeprefix("model."): t for k, t in tensors.items()},
    )

    check_tensors(weights)


def test_several_variants_are_refused(weights):
    """A folder with two variants of the same weights is refused, unless one of them is the preferred one."""
    file = weights / "transformer" / FILES["transformer"]
    other = file.with_name("diffusion_pytorch_model.ema.safetensors")
    shutil.copy(file, other)
    file.rename(file.with_name("diffusion_pytorch_model.fp16.safetensors"))

    assert "several sets of weights" in refused(weights)

    other.rename(file.with_name("diffusion_pytorch_model.bf16.safetensors"))
    check_tensors(weights)


def test_shards_must_be_complete(weights):
    """Shards are loaded with or without an index, and refused if one is missing."""
    folder = weights / "text_encoder"
    shard = folder / "model-00001-of-00001.safetensors"
    (folder / FILES["text_encoder"]).rename(shard)

    check_tensors(weights)

    index = {"weight_map": {"a": shard.name, "b": "model-00002-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks model-00002-of-00001.safetensors" in refused(weights)

    (folder / "model.safetensors.index.json").unlink()
    shard.rename(folder / "model-00001-of-00002.safetensors")
    assert "1 of 2 shards" in refused(weights)


def test_invalid_configuration_is_refused(weights):
    """A config.json with values that the class rejects is refused with the name of the class."""
    file = weights / "transformer" / "config.json"
    config = json.loads(file.read_text()) | {"num_layers": "many"}
    file.write_text(json.dumps(config))

    assert "config.json does not fit Flux2Transformer2DModel" in refused(weights)


def test_text_encoder_of_other_model_is_refused(weights):
    """A configuration of another class is refused, although its fields fit."""
    file = weights / "text_encoder" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"model_type": "llama"}))

    assert "does not fit Qwen3ForCausalLM: its model_type is llama" in refused(weights)


def test_whole_numbers_without_scale_are_refused(weights):
    """Weights of 8-bit numbers are refused by name if nothing scales them."""

    def as_integers(tensors):
        name = first_linear(tensors)
        return tensors | {name: (tensors[name].float() * 10).to(torch.int8)}

    rewrite(weights, "transformer", as_integers)

    assert "holds whole numbers (int8) without a scale" in refused(weights)


@pytest.mark.parametrize("method", ["torchao", "bitsandbytes"])
def test_folder_of_quantisation_library_is_refused(weights, method):
    """A component that a library saved quantised is refused with the name of the library."""
    file = weights / "transformer" / "config.json"
    config = json.loads(file.read_text()) | {"quantization_config": {"quant_method": method}}
    file.write_text(json.dumps(config))

    assert f"was saved quantised by {method}" in refused(weights)
