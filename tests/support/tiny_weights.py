"""Builds a klein pipeline with random weights offline, for tests that need the real classes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def make_tiny_weights(
    folder: Path,
    *,
    distilled: bool = True,
    vae_layers: int = 1,
    head_dim: int = 16,
    **manifest: Any,
) -> Path:
    """Write a pipeline of 0.4 MB that accepts the same call as the 4B checkpoint, in under a second.

    The random weights are the same on every call. `head_dim` is that of the transformer, half its width.
    Further keyword arguments go into klein.json.
    """
    import torch  # this file is a plugin of every test run, and importing torch takes seconds
    from diffusers import (
        AutoencoderKLFlux2,
        FlowMatchEulerDiscreteScheduler,
        Flux2KleinPipeline,
        Flux2Transformer2DModel,
    )
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = _tokenizer()
    state = torch.get_rng_state()
    torch.manual_seed(0)
    try:
        transformer = Flux2Transformer2DModel(
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=head_dim,
            num_attention_heads=2,
            joint_attention_dim=48,
            axes_dims_rope=(head_dim // 4,) * 4,
            guidance_embeds=False,
        )
        vae = AutoencoderKLFlux2(
            block_out_channels=(8, 8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=vae_layers,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=64,
        )
        text_encoder = Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=len(tokenizer),
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=27,
                num_attention_heads=2,
                num_key_value_heads=1,
                head_dim=8,
                max_position_embeddings=1024,
                tie_word_embeddings=True,
            )
        )
    finally:
        torch.set_rng_state(state)
    pipe: Any = Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        transformer=transformer,
        is_distilled=distilled,
    )
    pipe.save_pretrained(folder)
    described = {
        "name": "tiny-klein",
        "native_size": 64,
        "largest_size": 2048,
        "random_weights": True,
        **manifest,
    }
    (folder / "klein.json").write_text(json.dumps(described))
    return folder


def _tokenizer() -> Any:
    from transformers import Qwen2Tokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    symbols = [*bytes_to_unicode().values(), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    return Qwen2Tokenizer(
        vocab={symbol: index for index, symbol in enumerate(symbols)},
        merges=[],
        eos_token="<|im_end|>",  # a text token
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
    )


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny distilled checkpoint."""
    return make_tiny_weights(tmp_path_factory.mktemp("tiny") / "weights")


@pytest.fixture(scope="session")
def tiny_base_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny base checkpoint, which uses guidance."""
    return make_tiny_weights(tmp_path_factory.mktemp("tiny") / "base", distilled=False)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Generate with one thread, because spinning threads starve each other on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
