"""The folder that ships: a plain diffusers folder in bf16, with klein.json and SHA256SUMS beside it."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any, TypeVar

import torch

from worker.weights.integrity import write_checksums
from worker.weights.recipe.model import (
    TEXT_LAYERS,
    TEXT_LENGTH,
    TOKEN_PX,
    Autoencoder,
    TextEncoder,
    Tokenizer,
    Transformer,
    assemble,
)

Module = TypeVar("Module", bound=torch.nn.Module)
KLEIN: dict[str, Any] = {
    "name": "klein-builtin",
    "description": (
        "A small FLUX.2 [klein] pipeline that ships with klein: flat scenes of one or two coloured "
        "shapes, and edits of them. Not the 4B checkpoint."
    ),
    "max_sequence_length": TEXT_LENGTH,
    "text_encoder_out_layers": list(TEXT_LAYERS),
    "native_size": 128,
    "native_multiple": TOKEN_PX,
    "largest_size": 128,
    "render_scaled": True,
    "licence": "Apache-2.0",
}
KLEIN_BASE = KLEIN | {
    "name": "klein-builtin-base",
    "description": (
        "The base model of klein-builtin, which is not distilled: it takes 28 steps, guidance and a "
        "negative prompt. Not the 4B checkpoint."
    ),
}


def write_folder(  # noqa: PLR0913 -- all by name
    folder: Path,
    *,
    autoencoder: Autoencoder,
    transformer: Transformer,
    text_encoder: TextEncoder,
    tokenizer: Tokenizer,
    is_distilled: bool = True,
) -> None:
    """Write the pipeline; what the folder held before is replaced, its model card kept."""
    pipeline = assemble(
        autoencoder=_shippable(autoencoder),
        transformer=_shippable(transformer),
        text_encoder=_shippable(text_encoder),
        tokenizer=tokenizer,
        is_distilled=is_distilled,
    )
    draft = folder.with_name(folder.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    pipeline.save_pretrained(draft, safe_serialization=True)
    for config in draft.glob("*/config.json"):
        values = json.loads(config.read_text())
        values.pop("_name_or_path", None)  # the folder that the weights were loaded from
        config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
    klein = KLEIN if is_distilled else KLEIN_BASE
    (draft / "klein.json").write_text(json.dumps(klein, indent=2) + "\n")
    for kept in ("README.md", "pictures.png"):
        if (folder / kept).exists():
            shutil.copy(folder / kept, draft / kept)
    for file in draft.rglob("*.safetensors"):
        file.chmod(0o644)  # safetensors writes them for the owner alone
    write_checksums(draft)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def _shippable(module: Module) -> Module:
    plain = copy.deepcopy(module).cpu().to(torch.bfloat16).eval()
    for parameter in plain.parameters():
        parameter.data = parameter.data.contiguous()  # safetensors writes nothing else
    return plain
