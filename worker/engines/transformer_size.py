"""Reads the size of a loaded transformer, which decides which LoRAs fit."""

from typing import Any

from app.loras.transformer import TransformerSize


def transformer_size(transformer: Any) -> TransformerSize:
    """Return the size of diffusers' Flux2Transformer2DModel."""
    config = transformer.config
    width = config.num_attention_heads * config.attention_head_dim
    return TransformerSize(
        width=width,
        double_blocks=config.num_layers,
        single_blocks=config.num_single_layers,
        mlp_width=int(width * config.mlp_ratio),
        text_width=config.joint_attention_dim,
        channels=config.in_channels,
        time_channels=config.timestep_guidance_channels,
        has_guidance=config.guidance_embeds,
    )
