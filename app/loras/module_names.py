"""Finds the linear layers that a module name means, in the spelling of any trainer.

Names are compared with underscores in place of dots, so that `double_blocks.0.img_attn.proj`, kohya's
`lora_unet_double_blocks_0_img_attn_proj` and prefixes in any order need one rule.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from app.loras.transformer import Linears, TransformerSize

_PREFIXES = (
    "lora_unet_",
    "lora_transformer_",
    "lora_",
    "lycoris_",
    "base_model_model_",
    "base_model_",
    "model_diffusion_model_",
    "diffusion_model_",
    "transformer_",
    "denoiser_",
    "pipe_dit_",
    "pipe_",
    "dit_",
    "module_",
    "model_",
    "orig_mod_",
    "net_",
    "flux2_",
    "flux_",
)
_PREFIXES_MAX = 8
# Black Forest Labs' names, from diffusers/loaders/single_file_utils.py (convert_flux2_transformer_checkpoint_to_diffusers).
_BFL_LAYERS = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_guidance_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_guidance_embed.timestep_embedder.linear_2",
    "guidance_in.in_layer": "time_guidance_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_guidance_embed.guidance_embedder.linear_2",
    "double_stream_modulation_img.lin": "double_stream_modulation_img.linear",
    "double_stream_modulation_txt.lin": "double_stream_modulation_txt.linear",
    "single_stream_modulation.lin": "single_stream_modulation.linear",
    "final_layer.linear": "proj_out",
}
_ADA_LAYER_NORM = ("final_layer.adaLN_modulation.1", "norm_out.linear")
_BFL_DOUBLE = {
    "img_attn.proj": "attn.to_out.0",
    "img_mlp.0": "ff.linear_in",
    "img_mlp.2": "ff.linear_out",
    "txt_attn.proj": "attn.to_add_out",
    "txt_mlp.0": "ff_context.linear_in",
    "txt_mlp.2": "ff_context.linear_out",
}
_BFL_SINGLE = {"linear1": "attn.to_qkv_mlp_proj", "linear2": "attn.to_out"}
_FUSED = {
    ("img_attn.qkv", "attn.to_qkv"): ("attn.to_q", "attn.to_k", "attn.to_v"),
    ("txt_attn.qkv", "attn.to_added_qkv"): (
        "attn.add_q_proj",
        "attn.add_k_proj",
        "attn.add_v_proj",
    ),
}
"""Layers that are three layers in diffusers, by their names at Black Forest Labs and in fused diffusers models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A module of a file, and the linear layers of the model that it changes."""

    layers: tuple[str, ...]
    """Each gets an equal share of the rows, in this order."""
    rows: int
    columns: int
    has_swapped_halves: bool = False
    """Whether shift and scale are in the other order than in diffusers."""


class ModuleNames:
    """The names of all modules of a model."""

    def __init__(self, linears: Linears) -> None:
        self.linears = linears
        self._modules = {_flat(name): module for name, module in _iter_modules(linears)}

    def find(self, name: str) -> Module | None:
        """Return the module of this name, without any prefixes it may have, or None if there is none."""
        flat = _flat(name)
        for _ in range(_PREFIXES_MAX):
            if (module := self._modules.get(flat)) is not None:
                return module
            prefix = next((prefix for prefix in _PREFIXES if flat.startswith(prefix)), None)
            if prefix is None:
                return None
            flat = flat[len(prefix) :]
        return None


@cache
def modules_of(size: TransformerSize) -> ModuleNames:
    """Return the names of the modules of a transformer."""
    return ModuleNames(size.linears())


def _flat(name: str) -> str:
    return re.sub(r"_+", "_", name.replace(".", "_")).lstrip("_")


def _iter_modules(linears: Linears) -> Iterator[tuple[str, Module]]:
    for name, (rows, columns) in linears.items():
        own = Module(layers=(name,), rows=rows, columns=columns)
        yield name, own
        for other in _other_names(name):
            yield other, own
        if name == _ADA_LAYER_NORM[1]:
            yield (
                _ADA_LAYER_NORM[0],
                Module(layers=(name,), rows=rows, columns=columns, has_swapped_halves=True),
            )
        for (bfl_name, fused), parts in _FUSED.items():
            if name.endswith(f".{parts[0]}"):
                block = name.removesuffix(f".{parts[0]}")
                layers = tuple(f"{block}.{part}" for part in parts)
                whole = Module(layers=layers, rows=3 * rows, columns=columns)
                yield f"{block}.{fused}", whole
                yield f"double_blocks.{_index(block)}.{bfl_name}", whole


def _other_names(name: str) -> Iterator[str]:
    for bfl_name, diffusers_name in _BFL_LAYERS.items():
        if name == diffusers_name:
            yield bfl_name
    kind, _, rest = name.partition(".")
    index, _, layer = rest.partition(".")
    blocks = {
        "transformer_blocks": ("double_blocks", _BFL_DOUBLE),
        "single_transformer_blocks": ("single_blocks", _BFL_SINGLE),
    }
    if kind in blocks:
        if kind == "transformer_blocks":
            yield f"sformer_blocks.{rest}"  # some exports cut off the first letters
        bfl_kind, layers = blocks[kind]
        for bfl_layer, diffusers_layer in layers.items():
            if layer == diffusers_layer:
                yield f"{bfl_kind}.{index}.{bfl_layer}"


def _index(block: str) -> str:
    return block.rpartition(".")[2]
