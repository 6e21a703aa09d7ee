"""Tests that the built-in model generates the same images from every layout in which people have checkpoints.

Each row of the table in docs/checkpoints.md is made here.
"""

import math
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import layouts
from worker.engines import Order, Tuning, WeightsError, open_engine
from worker.engines.tensor_names import Component
from worker.engines.tuning import Compile, Quantization
from worker.weights.check import describe

BUILT_IN = Path(__file__).parents[2] / "worker" / "weights" / "builtin"
DOCS = Path(__file__).parents[2] / "docs" / "checkpoints.md"
ORDER = Order(
    prompt="a red circle on a blue background",
    width=128,
    height=128,
    steps=4,
    guidance=1.0,
    seeds=(7,),
)
pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.timeout(60)]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One row of the table: what the user has, and the least PSNR of the image. Infinite: the same bytes."""

    title: str
    build: Callable[[Path], Any]
    """Writes the layout into a folder. Returns KLEIN_WEIGHTS, or it and the components that replace others."""
    psnr_db: float = math.inf
    components: dict[str, Path] = field(default_factory=dict)

    @property
    def row(self):
        outcome = "same bytes" if math.isinf(self.psnr_db) else f"{self.psnr_db:.0f} dB or more"
        return f"| {self.title} | {outcome} |"


def transformer():
    return layouts.load(BUILT_IN, "transformer")


def replaced(tensors, folder, name="klein.safetensors"):
    """Serve the built-in model with this transformer."""
    return BUILT_IN, {"transformer": layouts.save(tensors, folder / name)}


def variant(folder):
    weights = Path(shutil.copytree(BUILT_IN, folder / "weights"))
    for component, name in layouts.FILES.items():
        file = weights / component / name
        file.rename(file.with_name(name.replace(".safetensors", ".bf16.safetensors")))
    return weights


def shards(folder):
    weights = layouts.without(BUILT_IN, folder / "weights", "transformer")
    names = sorted(transformer())
    for number, part in enumerate((names[:20], names[20:]), 1):
        file = f"diffusion_pytorch_model-{number:05}-of-00002.safetensors"
        layouts.save({n: transformer()[n] for n in part}, weights / "transformer" / file)
    return weights


def hub_cache(folder):
    root = folder / "models--owner--name"
    commit = "0" * 40
    shutil.copytree(BUILT_IN, root / "snapshots" / commit)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    return root


def beside(folder):
    layouts.without(BUILT_IN, folder / "FLUX.2-klein-4B", "transformer")
    return layouts.save(layouts.to_bfl(transformer()), folder / "flux-2-klein-4b.safetensors")


def own_folder(folder):
    own = layouts.without(BUILT_IN, folder / "finetune", "text_encoder", "vae") / "transformer"
    return layouts.without(BUILT_IN, folder / "base", "transformer"), {"transformer": own}


def comfy(folder):
    """Write ComfyUI's folders, beside files of other models, and a diffusers folder without weights."""
    models = folder / "models"
    layouts.save(
        layouts.to_bfl(transformer()), models / "diffusion_models" / "flux-2-klein-4b.safetensors"
    )
    text_encoder = layouts.load(BUILT_IN, "text_encoder")
    layouts.save(text_encoder, models / "text_encoders" / "qwen_3_4b.safetensors")
    other = {name: tensor.repeat(*[2] * tensor.ndim) for name, tensor in text_encoder.items()}
    layouts.save(other, models / "text_encoders" / "qwen_3_8b.safetensors")
    layouts.save(layouts.load(BUILT_IN, "vae"), models / "vae" / "flux2-vae.safetensors")
    layouts.without(BUILT_IN, models / "FLUX.2-klein-4B", *layouts.FILES)
    return models


def all_in_one(folder):
    layouts.without(BUILT_IN, folder / "FLUX.2-klein-4B", *layouts.FILES)
    tensors = {
        **layouts.prefixed("model.diffusion_model.", layouts.to_bfl(transformer())),
        **layouts.prefixed(
            "text_encoders.qwen3_4b.transformer.", layouts.load(BUILT_IN, "text_encoder")
        ),
        **layouts.prefixed("vae.", layouts.to_ldm(layouts.load(BUILT_IN, "vae"))),
    }
    return layouts.save(tensors, folder / "all.safetensors")


def gguf(kind):
    def build(folder):
        file = layouts.write_gguf(
            layouts.to_bfl(transformer()), folder / "klein.gguf", lambda _: kind
        )
        return BUILT_IN, {"transformer": file}

    return build


def gguf_text_encoder(folder):
    tensors = layouts.to_llama_cpp(layouts.load(BUILT_IN, "text_encoder"))
    return BUILT_IN, {
        "text_encoder": layouts.write_gguf(tensors, folder / "qwen.gguf", lambda _: "Q8_0")
    }


LAYOUTS = [
    Layout(title="diffusers folder", build=lambda _: BUILT_IN),
    Layout(title="diffusers folder with a variant in the file names", build=variant),
    Layout(title="diffusers folder with shards and no index", build=shards),
    Layout(title="repository folder of the hub's cache (`models--…`)", build=hub_cache),
    Layout(title="single file of Black Forest Labs, a diffusers folder beside it", build=beside),
    Layout(
        title="single file of Black Forest Labs as `KLEIN_TRANSFORMER`",
        build=lambda folder: replaced(layouts.to_bfl(transformer()), folder),
    ),
    Layout(
        title="single file of a fine-tune with diffusers' names as `KLEIN_TRANSFORMER`",
        build=lambda folder: replaced(transformer(), folder),
    ),
    Layout(title="transformer folder of a fine-tune as `KLEIN_TRANSFORMER`", build=own_folder),
    Layout(title="ComfyUI's folders (`diffusion_models`, `text_encoders`, `vae`)", build=comfy),
    Layout(title="all-in-one file of ComfyUI", build=all_in_one),
    Layout(
        title="autoencoder with Black Forest Labs' names as `KLEIN_VAE`",
        build=lambda folder: (
            BUILT_IN,
            {
                "vae": layouts.save(
                    layouts.to_ldm(layouts.load(BUILT_IN, "vae")), folder / "ae.safetensors"
                )
            },
        ),
    ),
    Layout(
        title="fp8 with a scale for each matrix (Black Forest Labs, ComfyUI)",
        build=lambda folder: replaced(layouts.to_fp8(layouts.to_bfl(transformer())), folder),
        psnr_db=40,
    ),
    Layout(
        title="fp8 with a scale for each row, under ComfyUI's older name",
        build=lambda folder: replaced(
            layouts.to_fp8(layouts.to_bfl(transformer()), "scale_weight", rows=True), folder
        ),
        psnr_db=40,
    ),
    Layout(
        title="nvfp4 in ComfyUI's packing (Black Forest Labs)",
        build=lambda folder: replaced(
            layouts.to_nvfp4(layouts.to_bfl(transformer()), comfy=True), folder
        ),
        psnr_db=30,
    ),
    Layout(
        title="nvfp4 in ModelOpt's packing (diffusers)",
        build=lambda folder: replaced(
            layouts.to_nvfp4(layouts.to_bfl(transformer()), comfy=False), folder
        ),
        psnr_db=30,
    ),
    Layout(title="GGUF, BF16", build=gguf("BF16")),
    Layout(title="GGUF, Q8_0", build=gguf("Q8_0"), psnr_db=50),
    Layout(title="GGUF, Q5_1", build=gguf("Q5_1"), psnr_db=35),
    Layout(title="GGUF text encoder (llama.cpp), Q8_0", build=gguf_text_encoder, psnr_db=50),
]


def generate(weights, components):
    tuning = Tuning(compile=Compile.OFF, **components)
    return open_engine(weights, tuning=tuning).generate(ORDER, lambda _step, _steps: None).images[0]


@pytest.fixture(scope="module")
def expected():
    """Return the image of the built-in model."""
    return generate(BUILT_IN, {})


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.title)
def test_layouts_generate_same_image(layout, expected, tmp_path):
    """Each layout gives the image of the built-in model, to the bytes or within the stated noise."""
    built = layout.build(tmp_path)
    weights, components = built if isinstance(built, tuple) else (built, {})

    image = generate(weights, components)

    noise = float(np.square(image.astype(float) - expected).mean())
    psnr_db = 10 * math.log10(255**2 / noise) if noise else math.inf
    print(f"PSNR {psnr_db:.1f} dB")  # noqa: T201 -- shown if the test fails, and with -s
    assert psnr_db >= layout.psnr_db


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.title)
def test_layouts_are_documented(layout):
    """The table in docs/checkpoints.md has a row for each layout with its outcome."""
    assert layout.row in DOCS.read_text()


def test_no_other_layout_is_documented():
    """Every row of the table is a layout that a test makes."""
    table = DOCS.read_text().partition("| What you have | Images |")[2].partition("\n\n")[0]

    assert set(table.strip().splitlines()[1:]) == {layout.row for layout in LAYOUTS}


def lacking(name):
    return {key: tensor for key, tensor in layouts.to_bfl(transformer()).items() if key != name}


def lacking_scale(name):
    tensors = layouts.to_fp8(layouts.to_bfl(transformer()))
    del tensors[name]
    return tensors


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        (
            lambda: lacking("img_in.weight"),
            "lacks 1 tensor of Flux2Transformer2DModel: x_embedder.weight",
        ),
        (lambda: lacking("double_blocks.0.img_attn.qkv.weight"), "lacks 3 tensors"),
        (
            lambda: lacking_scale("single_blocks.1.linear1.weight_scale"),
            "single_blocks.1.linear1.weight has no scale",
        ),
        (lambda: layouts.prefixed("odd.", transformer()), "holds no transformer of FLUX.2"),
        (
            lambda: {f"{name}.lora_A.weight": tensor for name, tensor in transformer().items()},
            "holds a LoRA and no model",
        ),
    ],
)
def test_incomplete_file_is_refused(tensors, message, tmp_path):
    """A single file without one tensor, or without one scale, is refused with its name in one line."""
    weights, components = replaced(tensors(), tmp_path)

    with pytest.raises(WeightsError) as caught:
        generate(weights, components)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "klein.safetensors" in str(caught.value)


def test_file_without_configuration_is_refused(tmp_path):
    """A single file with no diffusers folder beside it is refused with the settings that serve it."""
    file = layouts.save(layouts.to_bfl(transformer()), tmp_path / "klein.safetensors")

    with pytest.raises(WeightsError, match="KLEIN_TRANSFORMER to the file"):
        generate(file, {})


def test_base_file_in_distilled_folder_is_refused(tmp_path):
    """A file that is a base checkpoint by its name is refused beside the folder of a distilled one."""
    weights, components = replaced(
        layouts.to_bfl(transformer()), tmp_path, "flux-2-klein-base-4b.safetensors"
    )

    with pytest.raises(WeightsError, match="is a base checkpoint by its name"):
        generate(weights, components)


def test_check_names_layout_and_memory(tmp_path):
    """The check of `klein doctor` names the layout of each component, the file of a replaced one, and the memory."""
    file = layouts.save(
        layouts.to_fp8(layouts.to_bfl(transformer())), tmp_path / "klein.safetensors"
    )

    described = describe(str(BUILT_IN), {Component.TRANSFORMER: str(file)}, Quantization.NONE)

    assert described.startswith("distilled checkpoint, complete; transformer: klein.safetensors, ")
    assert "bf16 and fp8 with scales, Black Forest Labs' names, text encoder: bf16" in described
    assert re.search(r"; \d+ MB of weights on ", described)
