"""Writes a checkpoint in the layouts in which people publish FLUX.2 [klein]."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    import gguf

Tensors = dict[str, torch.Tensor]

FILES = {
    "transformer": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
}
_BFL_NAMES = (
    ("x_embedder.", "img_in."),
    ("context_embedder.", "txt_in."),
    ("time_guidance_embed.timestep_embedder.linear_1.", "time_in.in_layer."),
    ("time_guidance_embed.timestep_embedder.linear_2.", "time_in.out_layer."),
    ("stream_modulation_img.linear.", "stream_modulation_img.lin."),
    ("stream_modulation_txt.linear.", "stream_modulation_txt.lin."),
    ("single_stream_modulation.linear.", "single_stream_modulation.lin."),
    ("proj_out.", "final_layer.linear."),
    ("norm_out.linear.", "final_layer.adaLN_modulation.1."),
)
_BFL_DOUBLE_NAMES = (
    ("attn.norm_q.weight", "img_attn.norm.query_norm.scale"),
    ("attn.norm_k.weight", "img_attn.norm.key_norm.scale"),
    ("attn.norm_added_q.weight", "txt_attn.norm.query_norm.scale"),
    ("attn.norm_added_k.weight", "txt_attn.norm.key_norm.scale"),
    ("attn.to_out.0.", "img_attn.proj."),
    ("attn.to_add_out.", "txt_attn.proj."),
    ("ff.linear_in.", "img_mlp.0."),
    ("ff.linear_out.", "img_mlp.2."),
    ("ff_context.linear_in.", "txt_mlp.0."),
    ("ff_context.linear_out.", "txt_mlp.2."),
)
_BFL_SINGLE_NAMES = (
    ("attn.norm_q.weight", "norm.query_norm.scale"),
    ("attn.norm_k.weight", "norm.key_norm.scale"),
    ("attn.to_qkv_mlp_proj.", "linear1."),
    ("attn.to_out.", "linear2."),
)
_QKV = {"attn.to_q.": "img_attn", "attn.add_q_proj.": "txt_attn"}
_QKV_PARTS = {
    "img_attn": ("attn.to_q.", "attn.to_k.", "attn.to_v."),
    "txt_attn": ("attn.add_q_proj.", "attn.add_k_proj.", "attn.add_v_proj."),
}


def load(weights: Path, component: str) -> Tensors:
    """Return the tensors of one component of a diffusers folder."""
    return load_file(weights / component / FILES[component])


def save(tensors: Tensors, file: Path, metadata: dict[str, str] | None = None) -> Path:
    """Write tensors to a file in a folder that may be new."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, metadata)
    return file


def change(weights: Path, component: str, convert: Callable[[Tensors], Tensors]) -> None:
    """Rewrite a component in its folder."""
    save(convert(load(weights, component)), weights / component / FILES[component])


def without(weights: Path, folder: Path, *components: str) -> Path:
    """Copy a diffusers folder without the weights of these components, but with their configuration."""
    shutil.copytree(weights, folder)
    for component in components:
        (folder / component / FILES[component]).unlink()
    return folder


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    """Put a prefix before every name."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def to_bfl(tensors: Tensors) -> Tensors:
    """Give a transformer the names of Black Forest Labs' code: fused projections, shift before scale."""
    renamed = {}
    for name, tensor in tensors.items():
        stream, number, part = _block(name)
        if stream and (side := next((s for p, s in _QKV.items() if part.startswith(p)), None)):
            parts = [name.replace(part, "") + other + "weight" for other in _QKV_PARTS[side]]
            fused = torch.cat([tensors[part_name] for part_name in parts])
            renamed[f"{stream}.{number}.{side}.qkv.weight"] = fused
        elif stream and re.match(r"attn\.(to_[kv]|add_[kv]_proj)\.", part):
            continue
        elif stream:
            names = _BFL_DOUBLE_NAMES if stream == "double_blocks" else _BFL_SINGLE_NAMES
            renamed[f"{stream}.{number}.{_replace(part, names)}"] = tensor
        elif name.startswith("norm_out."):
            scale, shift = tensor.chunk(2)
            renamed[_replace(name, _BFL_NAMES)] = torch.cat([shift, scale])
        else:
            renamed[_replace(name, _BFL_NAMES)] = tensor
    return renamed


def _block(name: str) -> tuple[str, str, str]:
    match = re.match(r"(single_)?transformer_blocks\.(\d+)\.(.+)", name)
    if match is None:
        return "", "", name
    return ("single_blocks" if match[1] else "double_blocks"), match[2], match[3]


def _replace(name: str, names: tuple[tuple[str, str], ...]) -> str:
    for old, new in names:
        if old in name:
            return name.replace(old, new)
    raise AssertionError(name)


def to_ldm(tensors: Tensors, blocks: int = 4) -> Tensors:
    """Give an autoencoder the names of Black Forest Labs' code."""
    renamed = {}
    for name, tensor in tensors.items():
        new = re.sub(r"down_blocks\.(\d+)\.resnets\.", r"down.\1.block.", name)
        new = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample.", new)
        new = re.sub(
            r"up_blocks\.(\d+)\.resnets\.", lambda m: f"up.{blocks - 1 - int(m[1])}.block.", new
        )
        new = re.sub(
            r"up_blocks\.(\d+)\.upsamplers\.0\.",
            lambda m: f"up.{blocks - 1 - int(m[1])}.upsample.",
            new,
        )
        new = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", new)
        new = new.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        new = re.sub(r"^quant_conv", "encoder.quant_conv", new)
        renamed[re.sub(r"^post_quant_conv", "decoder.post_quant_conv", new)] = tensor
    return renamed


def to_fp8(tensors: Tensors, scale_name: str = "weight_scale", *, rows: bool = False) -> Tensors:
    """Store the matrices of the blocks in fp8 with scales."""
    stored = {}
    for name, tensor in tensors.items():
        if not _is_quantized(name, tensor):
            stored[name] = tensor
            continue
        values = tensor.float()
        largest = values.abs().amax(dim=1) if rows else values.abs().max()
        scale = largest / 448
        stored[name] = (values / (scale[:, None] if rows else scale)).to(torch.float8_e4m3fn)
        stored[name.removesuffix("weight") + scale_name] = scale
    return stored


def to_nvfp4(tensors: Tensors, *, comfy: bool) -> Tensors:
    """Store the matrices of the blocks in nvfp4, in the packing of ComfyUI or of NVIDIA ModelOpt."""
    from diffusers.quantizers.bfl.utils import quantize_nvfp4

    stored = {}
    for name, tensor in tensors.items():
        if not _is_quantized(name, tensor):
            stored[name] = tensor
            continue
        packed, scale, second = quantize_nvfp4(tensor)
        layer = name.removesuffix("weight")
        if comfy:
            packed = (packed << 4) | (packed >> 4)
            scale = tiled(scale)
            described = json.dumps({"format": "nvfp4"}).encode()
            stored[f"{layer}comfy_quant"] = torch.tensor(list(described), dtype=torch.uint8)
        else:
            stored[f"{layer}input_scale"] = torch.ones(())
        stored |= {name: packed, f"{layer}weight_scale": scale, f"{layer}weight_scale_2": second}
    return stored


def tiled(scale: torch.Tensor) -> torch.Tensor:
    """Put scales into cuBLAS' tiles of 128 x 4, byte by byte as its documentation says."""
    rows, columns = scale.shape
    high, wide = -(-rows // 128) * 128, -(-columns // 4) * 4
    flat = torch.zeros(high * wide, dtype=torch.uint8)
    source = scale.view(torch.uint8)
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    tile = (row // 128) * (wide // 4) + column // 4
    flat[tile * 512 + (row % 32) * 16 + (row % 128 // 32) * 4 + column % 4] = source
    return flat.view(torch.float8_e4m3fn).reshape(high, wide)


def _is_quantized(name: str, tensor: torch.Tensor) -> bool:
    return tensor.ndim == 2 and "blocks." in name


def write_gguf(
    tensors: Tensors,
    file: Path,
    choose_type: Callable[[str], str] = lambda _name: "F32",
    quantised: Mapping[str, "tuple[Any, gguf.GGMLQuantizationType]"] = MappingProxyType({}),
) -> Path:
    """Write a GGUF file. Matrices have the type that `choose_type` names, the others are floats.

    `quantised` holds the blocks and type of tensors in types that the package gguf can read, but not write.
    """
    import gguf
    from gguf.quants import quantize

    writer = gguf.GGUFWriter(file, "flux")
    for name, tensor in tensors.items():
        if name in quantised:
            blocks, number = quantised[name]
            writer.add_tensor(name, blocks, raw_dtype=number)
            continue
        values = tensor.float().numpy()
        kind = choose_type(name) if tensor.ndim == 2 else "F32"
        number = gguf.GGMLQuantizationType[kind]
        writer.add_tensor(name, quantize(values, number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


_LLAMA_CPP_NAMES = (
    ("model.embed_tokens.", "token_embd."),
    ("model.norm.", "output_norm."),
    ("model.layers.", "blk."),
    ("self_attn.q_norm.", "attn_q_norm."),
    ("self_attn.k_norm.", "attn_k_norm."),
    ("self_attn.q_proj.", "attn_q."),
    ("self_attn.k_proj.", "attn_k."),
    ("self_attn.v_proj.", "attn_v."),
    ("self_attn.o_proj.", "attn_output."),
    ("post_attention_layernorm.", "ffn_norm."),
    ("input_layernorm.", "attn_norm."),
    ("mlp.gate_proj.", "ffn_gate."),
    ("mlp.up_proj.", "ffn_up."),
    ("mlp.down_proj.", "ffn_down."),
)


def to_llama_cpp(tensors: Tensors) -> Tensors:
    """Give a text encoder the names of llama.cpp."""
    renamed = {}
    for name, tensor in tensors.items():
        new = name
        for old, short in _LLAMA_CPP_NAMES:
            new = new.replace(old, short)
        renamed[new] = tensor
    return renamed
