"""Tests of LoRA files in the formats of common trainers, with the shapes of the built-in model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig
from safetensors.torch import save_file

from tests.engine.test_quantization import fp8, nvfp4, psnr
from worker.engines import Lora, Order, Tuning, UnusableLora
from worker.engines.flux2_klein import Flux2KleinEngine
from worker.engines.folder import inspect_folder

pytestmark = pytest.mark.usefixtures("one_thread")
BUILT_IN = Path(__file__).parents[2] / "worker" / "weights" / "builtin"
RANK = 4
QKV = ("to_q", "to_k", "to_v")
# The name in diffusers, the name in Black Forest Labs' code, rows and columns.
TARGETS = (
    ("transformer_blocks.0.attn.to_out.0", "double_blocks.0.img_attn.proj", 160, 160),
    ("transformer_blocks.1.ff.linear_in", "double_blocks.1.img_mlp.0", 960, 160),
    ("transformer_blocks.1.ff_context.linear_out", "double_blocks.1.txt_mlp.2", 160, 480),
    ("single_transformer_blocks.2.attn.to_qkv_mlp_proj", "single_blocks.2.linear1", 1440, 160),
    ("single_transformer_blocks.3.attn.to_out", "single_blocks.3.linear2", 160, 640),
    ("x_embedder", "img_in", 160, 32),
)


def factors():
    """Yield one LoRA: diffusers name, BFL name, down, up. Query, key and value share one down, as BFL fuses them."""
    generator = torch.Generator().manual_seed(0)

    def random_matrix(rows, columns):
        return torch.randn(rows, columns, generator=generator) * 0.4

    for ours, theirs, rows, columns in TARGETS:
        yield ours, theirs, random_matrix(RANK, columns), random_matrix(rows, RANK)
    yield "QKV", "double_blocks.0.img_attn.qkv", random_matrix(RANK, 160), random_matrix(480, RANK)


def as_diffusers(prefix, down=".lora_A.weight", up=".lora_B.weight", strength=1.0):
    state = {}
    for ours, _, a, b in factors():
        if ours == "QKV":
            parts = zip(QKV, b.chunk(3), strict=True)
            named = [(f"transformer_blocks.0.attn.{name}", part) for name, part in parts]
        else:
            named = [(ours, b)]
        for name, part in named:
            state[f"{prefix}{name}{down}"] = a.clone()
            state[f"{prefix}{name}{up}"] = part.contiguous() * strength
    return state


def as_bfl(prefix, down=".lora_A.weight", up=".lora_B.weight", *, alpha=None):
    state = {}
    for _, theirs, a, b in factors():
        name = theirs.replace(".", "_") if prefix == "lora_unet_" else theirs
        state[f"{prefix}{name}{down}"] = a
        state[f"{prefix}{name}{up}"] = b * (RANK / alpha if alpha else 1)
        if alpha:
            state[f"{prefix}{name}.alpha"] = torch.tensor(float(alpha))
    return state


def with_alphas(state, alpha):
    """Add alphas, and scale the up factors so that the product stays the same."""
    alphas = {
        key.replace(".lora_A.weight", ".alpha"): torch.tensor(float(alpha))
        for key in state
        if "lora_A" in key
    }
    return {k: v * RANK / alpha if "lora_B" in k else v for k, v in state.items()} | alphas


DOWN_UP = (".lora_down.weight", ".lora_up.weight")
FORMATS = {
    "bare": lambda: as_diffusers(""),
    "peft": lambda: as_diffusers("base_model.model."),
    "comfy": lambda: as_diffusers("diffusion_model."),
    "old-diffusers": lambda: as_diffusers("transformer.", ".lora.down.weight", ".lora.up.weight"),
    "diffusers-alpha": lambda: with_alphas(as_diffusers("transformer."), 2),
    "ai-toolkit": lambda: as_bfl("diffusion_model."),
    "ai-toolkit-down-up": lambda: as_bfl("diffusion_model.", *DOWN_UP, alpha=2),
    "bfl-bare": lambda: as_bfl(""),
    "kohya": lambda: as_bfl("lora_unet_", *DOWN_UP, alpha=2),
    "kohya-no-alpha": lambda: as_bfl("lora_unet_", *DOWN_UP),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    save_file(as_diffusers("transformer."), folder / "diffusers.safetensors")
    for name, make in FORMATS.items():
        save_file(make(), folder / f"{name}.safetensors")
    state = as_diffusers("transformer.", strength=RANK / 2)
    modules = sorted({key.split(".lora")[0].removeprefix("transformer.") for key in state})
    config = LoraConfig(r=RANK, lora_alpha=2, target_modules=modules).to_dict()
    described = {f"transformer.{key}": value for key, value in config.items()}
    metadata = {"lora_adapter_metadata": json.dumps(described, default=list)}
    save_file(state, folder / "metadata.safetensors", metadata=metadata)
    return folder


@pytest.fixture(scope="module")
def engine(folder):
    return open_engine(folder)


def open_engine(folder, recipe=None):
    return Flux2KleinEngine(
        inspect_folder(BUILT_IN), folder, Tuning(), lambda _: None, recipe=recipe
    )


def generate(engine, *names, scale=1.0):
    order = Order(
        prompt="a red circle on a blue background",
        width=128,
        height=128,
        steps=2,
        guidance=1.0,
        seeds=(7,),
        loras=tuple(Lora(path=f"{name}.safetensors", scale=scale) for name in names),
    )
    return engine.generate(order, lambda k, n: None).images[0].astype(float)


@pytest.mark.parametrize("name", [*FORMATS, "metadata"])
def test_lora_key_formats_give_same_image(engine, name):
    """Each naming of the keys, with or without alphas, gives the same image, which differs from that without a LoRA."""
    expected, image = generate(engine, "diffusers"), generate(engine, name)

    assert psnr(expected, generate(engine)) < 25
    assert psnr(image, expected) > 45


def test_fused_lora_equals_peft_adapter(engine, folder):
    """The fused LoRA gives the same image as the adapter of diffusers and peft."""
    ours = generate(engine, "diffusers", scale=0.5)
    unfused = open_engine(None)
    pipe = unfused.model.pipe
    pipe.load_lora_weights(str(folder), weight_name="diffusers.safetensors", adapter_name="one")
    pipe.set_adapters(["one"], [0.5])

    assert psnr(ours, generate(unfused)) > 45


@pytest.mark.parametrize("prefix", ["transformer.", "diffusion_model.", ""])
def test_lokr_changes_image(engine, folder, prefix):
    """A LoKr file gives the image of a LoRA with the same Kronecker product."""
    generator = torch.Generator().manual_seed(1)
    name = "single_transformer_blocks.3.attn.to_out"
    if prefix == "diffusion_model.":
        name = "single_blocks.3.linear2"
    one, other = torch.randn(4, 4, generator=generator), torch.randn(40, 160, generator=generator)
    state = {f"{prefix}{name}.lokr_w1": one, f"{prefix}{name}.lokr_w2": other}
    file = f"lokr-{prefix}"
    save_file(state, folder / f"{file}.safetensors")
    whole = {"transformer.single_transformer_blocks.3.attn.to_out": torch.kron(one, other)}
    left, singular, right = torch.linalg.svd(next(iter(whole.values())), full_matrices=False)
    key = next(iter(whole))
    state = {f"{key}.lora_A.weight": right, f"{key}.lora_B.weight": left * singular}
    save_file({k: v.contiguous() for k, v in state.items()}, folder / f"{file}-whole.safetensors")

    assert psnr(generate(engine, file), generate(engine)) < 25
    assert psnr(generate(engine, file), generate(engine, f"{file}-whole")) > 45


def unusable():
    good = as_bfl("lora_unet_", *DOWN_UP)
    extra = {"lora_unet_double_stream_modulation_img_lin.lora_down.weight": torch.ones(RANK, 160)}
    yield "kohya-extra", good | extra
    text = {"lora_te1_layers_0_fc1.lora_down.weight": torch.ones(RANK, 16)}
    yield "kohya-text-encoder", good | text
    key = "transformer.x_embedder"
    diffusers = as_diffusers("transformer.")
    yield "dora", diffusers | {f"{key}.dora_scale": torch.ones(160)}
    yield "nan", diffusers | {f"{key}.lora_A.weight": torch.full((RANK, 32), torch.nan)}
    ups = {k: up for k, up in diffusers.items() if "lora_B" in k}
    biases = {k.replace(".weight", ".bias"): torch.ones(len(up)) for k, up in ups.items()}
    yield "bias", diffusers | biases
    yield "text-encoder", diffusers | {"text_encoder.x.lora_A.weight": torch.ones(RANK, 16)}
    block = {k.replace("blocks.1", "blocks.7"): v for k, v in diffusers.items()}
    yield "deeper-model", block
    yield (
        "flux1",
        {
            "transformer.transformer_blocks.0.norm1.linear.lora_A.weight": torch.ones(RANK, 3072),
            "transformer.transformer_blocks.0.norm1.linear.lora_B.weight": torch.ones(18432, RANK),
        },
    )
    yield (
        "sdxl",
        {
            "lora_unet_down_blocks_1_attentions_0_proj_in.lora_down.weight": torch.ones(RANK, 640),
            "lora_unet_down_blocks_1_attentions_0_proj_in.lora_up.weight": torch.ones(640, RANK),
        },
    )
    yield "kohya-diffusers", {k.replace(".", "_", 3): v for k, v in good.items()}


UNUSABLE = dict(unusable())


@pytest.mark.parametrize("name", UNUSABLE)
def test_unsupported_lora_is_refused(engine, folder, name):
    """A file that is not completely understood fails its order with its name, and the next order gives the same image as before."""
    expected = generate(engine, "diffusers")
    save_file(UNUSABLE[name], folder / f"{name}.safetensors")
    with pytest.raises(UnusableLora, match=f"LoRA {name}.safetensors: ") as error:
        generate(engine, "diffusers", name)

    assert "\n" not in str(error.value)
    assert np.array_equal(generate(engine, "diffusers"), expected)


@pytest.mark.parametrize("make_recipe", [fp8, nvfp4])
def test_lora_on_quantised_model(engine, folder, make_recipe):
    """A LoRA on a quantised model gives an image closer to the exact model's with it than to the quantised one without it."""
    quantised = open_engine(folder, make_recipe())
    without_lora = generate(quantised)
    # A strong scale, because fp4 alone changes the image much.
    with_lora = generate(quantised, "diffusers", scale=1.5)

    assert (
        psnr(with_lora, generate(engine, "diffusers", scale=1.5))
        > psnr(with_lora, without_lora) + 5
    )
    assert np.array_equal(generate(quantised), without_lora)
    assert np.array_equal(generate(quantised, "diffusers", scale=1.5), with_lora)
