"""Writes a checkpoint with the dimensions of FLUX.2 [klein] 4B and random weights, without a download.

`python -m benchmarks.full_size FOLDER` needs 16 GB of disk, 10 GB of memory and, to be quick, a GPU. The files are
divided as those on the hub.
"""

import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3ForCausalLM

_NOISE_VALUES = 10_000_019  # a prime number, so that no two rows are equal
TOKENIZER = Path("worker/weights/builtin/tokenizer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimensions:
    """The dimensions of a pipeline. The defaults are those of the 4B checkpoint."""

    double_blocks: int = 5
    single_blocks: int = 20
    heads: int = 24
    text_width: int = 2560
    text_inner: int = 9728
    text_heads: int = 32
    text_layers: int = 36
    vocabulary: int = 151_936
    vae_widths: tuple[int, int, int, int] = (128, 256, 512, 512)


SMALL = Dimensions(
    double_blocks=1,
    single_blocks=1,
    heads=1,
    text_width=64,
    text_inner=128,
    text_heads=8,
    text_layers=28,
    vocabulary=1024,
    vae_widths=(32, 32, 32, 32),
)


def write_random_weights(folder: Path, device: str, dimensions: Dimensions) -> Path:
    """Write the folder. The weights are the same on every call."""
    pipe = build_pipeline(dimensions)
    for name in ("text_encoder", "transformer", "vae"):
        component = getattr(pipe, name).to_empty(device=device)  # one at a time, to save memory
        if name == "text_encoder":
            component.tie_weights()
        _fill(component, device)
        component.save_pretrained(folder / name)
        component.to("meta")
    pipe.scheduler.save_pretrained(folder / "scheduler")
    pipe.save_config(folder)
    shutil.copytree(TOKENIZER, folder / "tokenizer", dirs_exist_ok=True)
    (folder / "klein.json").write_text(json.dumps({"name": folder.name, "random_weights": True}))
    return folder


def _fill(component: Any, device: str) -> None:
    """Give the matrices repeated noise, which is quick on a CPU too, and the vectors what leaves their input as it is."""
    noise = torch.randn(_NOISE_VALUES, generator=torch.Generator().manual_seed(0))
    noise = noise.to(device, torch.bfloat16)
    with torch.no_grad():
        for name, tensor in (*component.named_parameters(), *component.named_buffers()):
            if tensor.ndim < 2:  # noqa: PLR2004 -- a vector
                tensor.fill_(0.0 if name.endswith(("bias", "mean", "tracked")) else 1.0)
                continue
            values = tensor.view(-1)
            for start in range(0, values.numel(), _NOISE_VALUES):
                part = values[start : start + _NOISE_VALUES]
                part.copy_(noise[: part.numel()])
            tensor.mul_(tensor[0].numel() ** -0.5)


def build_pipeline(dimensions: Dimensions) -> Any:
    """Return a Flux2KleinPipeline in bfloat16 that takes no memory: its weights are on `meta`."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("meta"):
            return _build(dimensions)
    finally:
        torch.set_default_dtype(default)


def _build(dimensions: Dimensions) -> Any:
    transformer: Any = Flux2Transformer2DModel
    vae: Any = AutoencoderKLFlux2
    pipeline: Any = Flux2KleinPipeline
    tokenizer: Any = Qwen2Tokenizer
    scheduler: Any = FlowMatchEulerDiscreteScheduler
    denoiser = transformer(
        in_channels=128,
        num_layers=dimensions.double_blocks,
        num_single_layers=dimensions.single_blocks,
        attention_head_dim=128,
        num_attention_heads=dimensions.heads,
        joint_attention_dim=3 * dimensions.text_width,
        axes_dims_rope=(32, 32, 32, 32),
        guidance_embeds=False,
    )
    autoencoder = vae(block_out_channels=dimensions.vae_widths)
    text_encoder = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=dimensions.vocabulary,
            hidden_size=dimensions.text_width,
            intermediate_size=dimensions.text_inner,
            num_hidden_layers=dimensions.text_layers,
            num_attention_heads=dimensions.text_heads,
            num_key_value_heads=8,
            head_dim=128,
            tie_word_embeddings=True,
        )
    )
    return pipeline(
        scheduler=scheduler(use_dynamic_shifting=True, shift=3.0),
        tokenizer=tokenizer.from_pretrained(TOKENIZER),
        transformer=denoiser,
        vae=autoencoder,
        text_encoder=text_encoder,
        is_distilled=True,
    )


if __name__ == "__main__":
    where = "cuda" if torch.cuda.is_available() else "cpu"
    write_random_weights(Path(sys.argv[1]), where, Dimensions())
