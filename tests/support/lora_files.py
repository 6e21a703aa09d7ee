"""LoRA files for the tiny weights, valid and invalid."""

from pathlib import Path

import torch
from safetensors.torch import save_file

TINY_WIDTH = 32
TINY_TARGETS = ("transformer_blocks.0.attn.to_q", "single_transformer_blocks.0.attn.to_out")
_INPUTS = {"single_transformer_blocks.0.attn.to_out": 128}


def write_lora(file: Path, seed: int = 0, *, prefix: str = "transformer", width: int = TINY_WIDTH):
    """Write a LoRA of rank 2 that visibly changes the tiny model's images."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for target in TINY_TARGETS:
        inputs = _INPUTS.get(target, width)
        state[f"{prefix}.{target}.lora_A.weight"] = torch.randn(2, inputs, generator=generator)
        state[f"{prefix}.{target}.lora_B.weight"] = torch.randn(width, 2, generator=generator)
    save_file(state, file)
    return state
