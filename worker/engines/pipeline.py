"""Loads diffusers' Flux2KleinPipeline from a weights folder; any class of it, on the host."""

import logging
from typing import Any

import torch

for _name in ("torchao", "torch.utils._pytree"):  # diffusers imports torchao, which warns at length
    logging.getLogger(_name).setLevel(logging.ERROR)

import diffusers  # noqa: E402
import transformers  # noqa: E402
from diffusers import Flux2KleinPipeline  # noqa: E402

from worker.engines.errors import WeightsError  # noqa: E402
from worker.engines.folder import WeightsFolder  # noqa: E402
from worker.engines.text_encoder import cut_text_encoder  # noqa: E402


def quiet_libraries() -> None:
    """Keep the libraries' own bars and remarks out of what is told."""
    for library in (diffusers, transformers):
        library_logging: Any = library.utils.logging
        library_logging.set_verbosity_error()
        library_logging.disable_progress_bar()


def load_pipeline(folder: WeightsFolder, dtype: torch.dtype) -> Any:
    """Give the pipeline in host memory, its text encoder cut; Any because diffusers has no types."""
    quiet_libraries()
    pipeline_class: Any = Flux2KleinPipeline
    try:
        pipe = pipeline_class.from_pretrained(
            folder.path, local_files_only=True, use_safetensors=True, dtype=dtype
        )
    except Exception as exc:  # loaders raise whatever they like about bad files
        reason = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
        raise WeightsError(f"{folder.path} does not load: {reason}") from exc
    layers = pipe.text_encoder.config.num_hidden_layers
    deepest = max(folder.manifest.text_encoder_out_layers)
    if layers < deepest:
        raise WeightsError(f"{folder.path}/text_encoder has {layers} layers, {deepest} are read")
    cut_text_encoder(pipe, deepest)  # before it takes memory on the device
    pipe.set_progress_bar_config(disable=True)
    return pipe
