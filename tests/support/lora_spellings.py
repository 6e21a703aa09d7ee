"""Writes one set of weight changes in the spelling of every trainer, for the built-in model."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file

from tests.support.lora_headers import write_header

Tensors = dict[str, torch.Tensor]
RANK = 4
WIDTH = 160
DOWN_UP = (".lora_down.weight", ".lora_up.weight")


class Layer(NamedTuple):
    """A module of the file, with its name in diffusers (three for a fused one) and at Black Forest Labs."""

    ours: tuple[str, ...]
    theirs: str
    rows: int
    columns: int


def layers() -> Iterator[Layer]:
    """Yield every linear layer of the built-in model."""
    d = WIDTH
    yield Layer(("x_embedder",), "img_in", d, 32)
    yield Layer(("context_embedder",), "txt_in", d, 384)
    time = "time_guidance_embed.timestep_embedder"
    yield Layer((f"{time}.linear_1",), "time_in.in_layer", d, 256)
    yield Layer((f"{time}.linear_2",), "time_in.out_layer", d, d)
    for stream in ("double_stream_modulation_img", "double_stream_modulation_txt"):
        yield Layer((f"{stream}.linear",), f"{stream}.lin", 6 * d, d)
    yield Layer(("single_stream_modulation.linear",), "single_stream_modulation.lin", 3 * d, d)
    yield Layer(("norm_out.linear",), "final_layer.adaLN_modulation.1", 2 * d, d)
    yield Layer(("proj_out",), "final_layer.linear", 32, d)
    for k in range(2):
        ours, theirs = f"transformer_blocks.{k}", f"double_blocks.{k}"
        image = tuple(f"{ours}.attn.to_{x}" for x in "qkv")
        text = tuple(f"{ours}.attn.add_{x}_proj" for x in "qkv")
        yield Layer(image, f"{theirs}.img_attn.qkv", 3 * d, d)
        yield Layer(text, f"{theirs}.txt_attn.qkv", 3 * d, d)
        yield Layer((f"{ours}.attn.to_out.0",), f"{theirs}.img_attn.proj", d, d)
        yield Layer((f"{ours}.attn.to_add_out",), f"{theirs}.txt_attn.proj", d, d)
        for ff, mlp in (("ff", "img_mlp"), ("ff_context", "txt_mlp")):
            yield Layer((f"{ours}.{ff}.linear_in",), f"{theirs}.{mlp}.0", 6 * d, d)
            yield Layer((f"{ours}.{ff}.linear_out",), f"{theirs}.{mlp}.2", d, 3 * d)
    for k in range(4):
        ours, theirs = f"single_transformer_blocks.{k}.attn", f"single_blocks.{k}"
        yield Layer((f"{ours}.to_qkv_mlp_proj",), f"{theirs}.linear1", 9 * d, d)
        yield Layer((f"{ours}.to_out",), f"{theirs}.linear2", d, 4 * d)


def _draw(seed: int, rows: int, columns: int) -> torch.Tensor:
    """Draw numbers that fp8 holds exactly."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-4, 5, (rows, columns), generator=generator) / 16


def factors() -> Iterator[tuple[Layer, torch.Tensor, torch.Tensor]]:
    """Yield the layers with their down and up matrices in diffusers' order of rows."""
    for seed, layer in enumerate(layers()):
        yield layer, _draw(2 * seed, RANK, layer.columns), _draw(2 * seed + 1, layer.rows, RANK)


def lora(  # noqa: PLR0913 -- one argument a difference between trainers
    prefix: str,
    down: str = ".lora_A.weight",
    up: str = ".lora_B.weight",
    *,
    bfl: bool = False,
    flat: bool = False,
    alpha: float | None = None,
    strength: Callable[[str], float] = lambda _name: 1.0,
) -> Tensors:
    """Write the changes as LoRAs. `alpha` adds alphas, and `strength` is divided out of the up matrices."""
    tensors: Tensors = {}
    for layer, a, b in factors():
        whole = b.roll(WIDTH, 0) if bfl and "adaLN" in layer.theirs else b
        named = (
            [(layer.theirs, whole)]
            if bfl
            else list(zip(layer.ours, b.chunk(len(layer.ours)), strict=True))
        )
        for name, part in named:
            key = prefix + (name.replace(".", "_") if flat else name)
            factor = strength(name) * (alpha / RANK if alpha else 1)
            tensors[key + down] = a.clone()
            tensors[key + up] = part.contiguous() / factor
            if alpha:
                tensors[f"{key}.alpha"] = torch.tensor(alpha)
    return tensors


def lokr(
    prefix: str,
    *,
    bfl: bool = False,
    flat: bool = False,
    alpha: float | None = None,
    is_low_rank: bool = False,
) -> Tensors:
    """Write Kronecker products. Without a rank the alpha has no effect, and is infinite here."""
    tensors: Tensors = {}
    for seed, layer in enumerate(layers()):
        if len(layer.ours) > 1 and not bfl:
            continue
        name = layer.theirs if bfl else layer.ours[0]
        key = prefix + (name.replace(".", "_") if flat else name)
        small, large = _draw(seed, 4, 4), _draw(seed + 99, layer.rows // 4, layer.columns // 4)
        tensors[f"{key}.lokr_w1"] = small
        if is_low_rank:
            tensors[f"{key}.lokr_w2_a"] = _draw(seed, layer.rows // 4, RANK)
            tensors[f"{key}.lokr_w2_b"] = _draw(seed, RANK, layer.columns // 4)
        else:
            tensors[f"{key}.lokr_w2"] = large
        if alpha:
            tensors[f"{key}.alpha"] = torch.tensor(alpha)
            tensors[f"{key}.lokr_w1"] = small * (RANK / alpha) if is_low_rank else small
    return tensors


def loha(prefix: str, *, flat: bool = False) -> Tensors:
    """Write the changes as Hadamard products: the second factor is all ones."""
    tensors: Tensors = {}
    for layer, a, b in factors():
        for name, part in zip(layer.ours, b.chunk(len(layer.ours)), strict=True):
            key = prefix + (name.replace(".", "_") if flat else name)
            tensors |= {
                f"{key}.hada_w1_a": part.contiguous(),
                f"{key}.hada_w1_b": a.clone(),
                f"{key}.hada_w2_a": torch.ones(len(part), RANK) / RANK,
                f"{key}.hada_w2_b": torch.ones(RANK, layer.columns),
                f"{key}.alpha": torch.tensor(float(RANK)),
            }
    return tensors


def full(prefix: str) -> Tensors:
    """Write the changes as whole matrices."""
    return {
        f"{prefix}{name}.diff": (part @ a).contiguous()
        for layer, a, b in factors()
        for name, part in zip(layer.ours, b.chunk(len(layer.ours)), strict=True)
    }


def fp8(tensors: Tensors) -> Tensors:
    return {name: tensor.to(torch.float8_e4m3fn) for name, tensor in tensors.items()}


def alternating(prefixes: tuple[str, ...], tensors: Tensors) -> Tensors:
    """Give each module one of the prefixes."""
    modules = sorted({name.split(".lora_")[0] for name in tensors})
    return {
        prefixes[modules.index(name.split(".lora_")[0]) % len(prefixes)] + name: tensor
        for name, tensor in tensors.items()
    }


SINGLE = "single_transformer_blocks"
PATTERNS = {"alpha_pattern": {rf"{SINGLE}\.\d+\.attn\.to_out": 12, "proj_out": 2}}


def peft_strength(*, is_rank_stabilised: bool) -> Callable[[str], float]:
    """Return the strength of each module by `PATTERNS` and an alpha of 8."""

    def strength(name: str) -> float:
        alpha = 12 if name.startswith(SINGLE) and name.endswith("to_out") else 8
        alpha = 2 if name == "proj_out" else alpha
        return alpha / (math.sqrt(RANK) if is_rank_stabilised else RANK)

    return strength


class Spelling(NamedTuple):
    """One row of the table in docs/loras.md."""

    make: Callable[[], Tensors]
    kind: str = "lora"
    metadata: dict[str, str] | None = None
    adapter_config: dict[str, Any] | None = None


def _config(**more: Any) -> dict[str, Any]:
    return {"peft_type": "LORA", "r": RANK, "lora_alpha": 8, **PATTERNS, **more}


SPELLINGS = {
    "diffusers": Spelling(lambda: lora("transformer.")),
    "diffusers, alpha in the metadata": Spelling(
        lambda: lora("transformer.", strength=peft_strength(is_rank_stabilised=False)),
        metadata={
            "lora_adapter_metadata": json.dumps(
                {f"transformer.{k}": v for k, v in _config().items()}
            )
        },
    ),
    "diffusers, old": Spelling(
        lambda: lora("transformer.", ".lora.down.weight", ".lora.up.weight")
    ),
    "diffusers, underscored": Spelling(lambda: lora("", *DOWN_UP, flat=True, alpha=3)),
    "bare names": Spelling(lambda: lora("")),
    "PEFT": Spelling(lambda: lora("base_model.model.")),
    "PEFT folder": Spelling(
        lambda: lora("base_model.model.", strength=peft_strength(is_rank_stabilised=False)),
        adapter_config=_config(),
    ),
    "PEFT folder, rsLoRA": Spelling(
        lambda: lora("base_model.model.", strength=peft_strength(is_rank_stabilised=True)),
        adapter_config=_config(use_rslora=True),
    ),
    "PEFT in memory": Spelling(
        lambda: lora("base_model.model.", ".lora_A.default.weight", ".lora_B.default.weight")
    ),
    "DiffSynth-Studio": Spelling(
        lambda: lora("pipe.dit.", ".lora_A.default.weight", ".lora_B.default.weight")
    ),
    "SimpleTuner": Spelling(lambda: lora("transformer.", alpha=2.0)),
    "SimpleTuner LoKr, bare": Spelling(lambda: lokr("", alpha=math.inf), "lokr"),
    "SimpleTuner LoKr": Spelling(lambda: lokr("transformer.", alpha=math.inf), "lokr"),
    "SimpleTuner LoKr, low rank": Spelling(
        lambda: lokr("diffusion_model.", alpha=2.0, is_low_rank=True), "lokr low rank"
    ),
    "ai-toolkit": Spelling(lambda: lora("diffusion_model.", bfl=True)),
    "ai-toolkit, diffusers names": Spelling(lambda: lora("diffusion_model.")),
    "ai-toolkit LoKr": Spelling(lambda: lokr("diffusion_model.", bfl=True, alpha=1e10), "lokr bfl"),
    "Black Forest Labs' names": Spelling(lambda: lora("", bfl=True)),
    "kohya sd-scripts, musubi-tuner": Spelling(
        lambda: lora("lora_unet_", *DOWN_UP, bfl=True, flat=True, alpha=2.0)
    ),
    "kohya, diffusers names": Spelling(lambda: lora("lora_unet_", *DOWN_UP, flat=True, alpha=2.0)),
    "OneTrainer": Spelling(lambda: lora("lora_transformer_", *DOWN_UP, flat=True, alpha=1.0)),
    "OneTrainer, dotted": Spelling(lambda: lora("transformer.", *DOWN_UP, alpha=1.0)),
    "LyCORIS LoCon": Spelling(lambda: lora("lycoris_", *DOWN_UP, flat=True, alpha=2.0)),
    "LyCORIS LoKr": Spelling(
        lambda: lokr("lycoris_", flat=True, alpha=2.0, is_low_rank=True), "lokr low rank"
    ),
    "LyCORIS LoHa": Spelling(lambda: loha("lycoris_", flat=True)),
    "LyCORIS full": Spelling(lambda: full("diffusion_model.")),
    "ComfyUI": Spelling(lambda: lora("model.diffusion_model.", *DOWN_UP, bfl=True, alpha=4.0)),
    "stacked prefixes": Spelling(
        lambda: alternating(
            ("transformer.base_model.model.", "base_model.model.transformer.", "pipe.dit.", ""),
            lora(""),
        )
    ),
    "fp8 tensors": Spelling(lambda: fp8(lora("transformer."))),
    "numbers and metadata that nothing reads": Spelling(
        lambda: lora("transformer.") | {"epoch": torch.tensor(3), "global_step": torch.ones(1)},
        metadata={"format": "pt", "ss_network_module": "networks.lora"},
    ),
}
"""By trainer, as docs/loras.md names it."""
REFERENCES: dict[str, Callable[[], Tensors]] = {
    "lora": lambda: lora("transformer."),
    "lokr": lambda: lokr("transformer."),
    "lokr low rank": lambda: lokr("transformer.", is_low_rank=True),
    "lokr bfl": lambda: lokr("diffusion_model.", bfl=True),
}
"""The same changes in their plainest form, by kind."""


def write_spelling(folder: Path, name: str) -> Path:
    """Write one spelling into a folder, and return its file."""
    spelling = SPELLINGS[name]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "adapter_model.safetensors"
    save_file(spelling.make(), file, metadata=spelling.metadata)
    if spelling.adapter_config is not None:
        (folder / "adapter_config.json").write_text(json.dumps(spelling.adapter_config))
    return file


def _with(**more: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in lora("transformer.").items()} | {
        name.replace("__", "."): shape for name, shape in more.items()
    }


REFUSALS: dict[str, tuple[Callable[[], dict[str, tuple[int, ...]]], str]] = {
    "DoRA of LyCORIS": (lambda: _with(transformer__proj_out__dora_scale=(32, 1)), "is a DoRA"),
    "DoRA of PEFT": (
        lambda: _with(transformer__proj_out__lora_magnitude_vector=(32,)),
        "is a DoRA",
    ),
    "biases": (lambda: _with(transformer__proj_out__lora_B__bias=(32,)), "has biases"),
    "text encoder, kohya": (
        lambda: _with(lora_te1_layers_0_fc1__lora_down__weight=(4, 16)),
        "changes the text encoder",
    ),
    "text encoder, diffusers": (
        lambda: _with(text_encoder__model__layers__0__mlp__lora_A__weight=(4, 16)),
        "changes the text encoder",
    ),
    "OFT": (lambda: {"transformer.proj_out.oft_blocks": (4, 8, 8)}, "is an OFT"),
    "textual inversion": (lambda: _with(bundle_emb__ink__clip_l=(4, 768)), "textual inversion"),
    "whole weights": (lambda: {"transformer.proj_out.weight": (32, 160)}, "holds whole weights"),
    "scaled fp8": (
        lambda: _with(transformer__proj_out__scale_weight=(1,)),
        "is quantised with scales",
    ),
    "several adapters": (
        lambda: {
            f"proj_out.lora_{side}.{name}.weight": shape
            for name in ("one", "two")
            for side, shape in (("A", (4, 160)), ("B", (32, 4)))
        },
        "same tensor twice",
    ),
    "missing half": (lambda: {"transformer.proj_out.lora_A.weight": (4, 160)}, "no lora_B"),
    "larger FLUX.2": (
        lambda: {"transformer.transformer_blocks.7.attn.to_q.lora_A.weight": (4, 160)},
        "more than 2 transformer_blocks",
    ),
    "wider FLUX.2": (
        lambda: {
            "transformer.proj_out.lora_A.weight": (4, 3072),
            "transformer.proj_out.lora_B.weight": (128, 4),
        },
        "a model of another size",
    ),
    "FLUX.1": (
        lambda: {"transformer.transformer_blocks.0.norm1.linear.lora_A.weight": (4, 3072)},
        "FLUX.1",
    ),
    "Stable Diffusion": (
        lambda: {"lora_unet_down_blocks_1_attentions_0_proj_in.lora_down.weight": (4, 640)},
        "Stable Diffusion",
    ),
}
"""By content, as docs/loras.md names it: the tensors, and a part of the message."""


def write_refusal(folder: Path, name: str) -> Path:
    """Write a file that is refused."""
    return write_header(folder / "refused.safetensors", REFUSALS[name][0]())
