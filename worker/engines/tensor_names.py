"""Knows how programs name the tensors of FLUX.2 [klein]: which component a name belongs to, and what diffusers calls it."""

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any


class Component(StrEnum):
    """Names the parts of a pipeline that have weights."""

    TRANSFORMER = "transformer"
    TEXT_ENCODER = "text_encoder"
    VAE = "vae"


# Prefixes in files that hold more than one component, or that were saved from a wrapper.
_PREFIXES = {
    Component.TRANSFORMER: re.compile(r"^(model\.)?diffusion_model\.|^transformer\."),
    Component.TEXT_ENCODER: re.compile(
        r"^text_encoders\.[^.]+\.(transformer\.)?|^text_encoder\.|^cond_stage_model\.[^.]+\.transformer\."
    ),
    Component.VAE: re.compile(r"^vae\.|^first_stage_model\."),
}
_BFL = re.compile(
    r"^(double_blocks|single_blocks|img_in|txt_in|time_in|final_layer"
    r"|(double|single)_stream_modulation(_img|_txt)?\.lin)\."
)
# No other model has names like the transformer's.
_FIRST_NAMES = {
    Component.TRANSFORMER: re.compile(r"^(double|single)_stream_modulation(_img|_txt)?\."),
    Component.TEXT_ENCODER: re.compile(
        r"^(model\.)?(layers\.\d|embed_tokens)\.|^(blk\.\d|token_embd)\."
    ),
    Component.VAE: re.compile(r"^(encoder|decoder)\.(conv_in|mid|mid_block|down|up)\b"),
}
_GGUF_LAYER = re.compile(r"^blk\.(\d+)\.([a-z_]+)\.")
_GGUF_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_GGUF_NAMES = {
    "token_embd.": "model.embed_tokens.",
    "output_norm.": "model.norm.",
    "output.": "lm_head.",
}
"""llama.cpp's names of a Qwen3 model (gguf-py/gguf/tensor_mapping.py)."""


def components_in(names: Iterable[str]) -> set[Component]:
    """Return the components of which a file holds tensors."""
    names = list(names)
    return {component for component in Component if _holds(component, names)}


def _holds(component: Component, names: list[str]) -> bool:
    return any(_FIRST_NAMES[component].match(name) for name in names_of(component, names).values())


def names_of(component: Component, names: Iterable[str]) -> dict[str, str]:
    """Map the names of one component's tensors in a file to those names without prefix.

    In a file of several components, only prefixed names belong to one. Otherwise every name does.
    """
    prefixes = _PREFIXES[component]
    names = list(names)
    prefixed = {name: prefixes.sub("", name) for name in names if prefixes.match(name)}
    if prefixed:
        others = [p for other, p in _PREFIXES.items() if other is not component]
        own = [name for name in names if not any(other.match(name) for other in others)]
        return {name: prefixed.get(name, name) for name in own}
    return {name: name for name in names}


def is_bfl(names: Iterable[str]) -> bool:
    """Return whether a transformer has the names of Black Forest Labs' own code."""
    return any(_BFL.match(name) for name in names)


def to_diffusers(component: Component, tensors: dict[str, Any], config: Any) -> dict[str, Any]:
    """Give the tensors of a component the names and shapes of its class, unless they have them.

    Works on tensors of any device, without data too. An unknown name raises `KeyError`, or stays as it is.
    """
    match component:
        case Component.TRANSFORMER if is_bfl(tensors):
            return _convert_transformer(tensors)
        case Component.VAE if any(
            re.match(r"(encoder|decoder)\.(mid\.|down\.|up\.)", n) for n in tensors
        ):
            return _convert_vae(tensors, config)
        case Component.TEXT_ENCODER:
            return {_text_encoder_name(name): tensor for name, tensor in tensors.items()}
    return tensors


def _convert_transformer(tensors: dict[str, Any]) -> dict[str, Any]:
    from diffusers.loaders.single_file_utils import (  # noqa: PLC0415 -- takes seconds, and is rarely needed
        convert_flux2_transformer_checkpoint_to_diffusers as convert,
    )

    typed: Callable[[dict[str, Any]], dict[str, Any]] = convert
    return typed(dict(tensors))


def _convert_vae(tensors: dict[str, Any], config: Any) -> dict[str, Any]:
    from diffusers.loaders.single_file_utils import (  # noqa: PLC0415 -- as above
        convert_ldm_vae_checkpoint,
    )

    # Black Forest Labs' code keeps these two in the encoder and the decoder.
    renamed = {
        re.sub(r"^(encoder\.(?=quant_conv)|decoder\.(?=post_quant_conv))", "", name): tensor
        for name, tensor in tensors.items()
    }
    typed: Callable[..., dict[str, Any]] = convert_ldm_vae_checkpoint
    statistics = {name: tensor for name, tensor in renamed.items() if name.startswith("bn.")}
    converted = typed(renamed, config) | statistics
    converted_ids = set(map(id, converted.values()))
    # The conversion drops names that it does not know. It reshapes those of attentions.
    for name, tensor in renamed.items():
        if id(tensor) not in converted_ids and ".attn_" not in name:
            raise KeyError(name)
    return converted


def _text_encoder_name(name: str) -> str:
    if layer := _GGUF_LAYER.match(name):
        number, part = layer.groups()
        renamed = _GGUF_LAYER_NAMES.get(part, part)
        return f"model.layers.{number}.{renamed}.{name[layer.end() :]}"
    for old, new in _GGUF_NAMES.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
