"""The five components of the small pipeline, untrained, and the sizes they are built in."""

from typing import Any, TypeAlias

import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from transformers import Qwen3Config, Qwen3ForCausalLM

# diffusers and transformers build their classes in ways that mypy cannot follow
Autoencoder: TypeAlias = Any
Transformer: TypeAlias = Any
TextEncoder: TypeAlias = Any
Tokenizer: TypeAlias = Any
Pipeline: TypeAlias = Any
PIPELINE: Pipeline = Flux2KleinPipeline
LATENT_CHANNELS = 8
TOKEN_CHANNELS = 4 * LATENT_CHANNELS
TOKEN_PX = 16
TEXT_WIDTH = 128
TEXT_LAYERS = (1, 2, 3)
TEXT_LENGTH = 40
SHIFT = 3.0


def new_autoencoder() -> Autoencoder:
    """Build an autoencoder that turns 8x8 pixels into one latent of `LATENT_CHANNELS`."""
    return AutoencoderKLFlux2(  # type: ignore[no-untyped-call]  # as diffusers has it
        block_out_channels=(16, 32, 64, 96),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=128,
        mid_block_add_attention=False,
    )


def new_transformer() -> Transformer:
    """Build a transformer whose output starts at zero."""
    transformer: Transformer = Flux2Transformer2DModel(  # type: ignore[no-untyped-call]  # as diffusers has it
        in_channels=TOKEN_CHANNELS,
        num_layers=2,
        num_single_layers=4,
        attention_head_dim=32,
        num_attention_heads=5,
        joint_attention_dim=len(TEXT_LAYERS) * TEXT_WIDTH,
        axes_dims_rope=(4, 12, 12, 4),
        rope_theta=100,  # the grid is 8 tokens wide, not 128
        guidance_embeds=False,
    )
    torch.nn.init.zeros_(transformer.proj_out.weight)
    return transformer


def new_text_encoder(vocabulary: int) -> TextEncoder:
    """Build a text encoder of three layers."""
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=TEXT_WIDTH,
            intermediate_size=3 * TEXT_WIDTH,
            num_hidden_layers=len(TEXT_LAYERS),
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=32,
            max_position_embeddings=512,
            tie_word_embeddings=True,
        )
    )


def new_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Build a scheduler with a fixed shift: the model has one size, so nothing is dynamic."""
    return FlowMatchEulerDiscreteScheduler(  # type: ignore[no-untyped-call]  # as diffusers has it
        shift=SHIFT, use_dynamic_shifting=False
    )


def assemble(
    *,
    autoencoder: Autoencoder,
    transformer: Transformer,
    text_encoder: TextEncoder,
    tokenizer: Tokenizer,
    is_distilled: bool,
) -> Pipeline:
    """Put the components together as a pipeline that ships."""
    return PIPELINE(
        scheduler=new_scheduler(),
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer,
        is_distilled=is_distilled,
    )
