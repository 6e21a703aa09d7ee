"""Loads diffusers' Flux2KleinPipeline from a weights folder into host memory."""

import logging
from typing import Any

import torch

# Before the imports below: diffusers imports torchao, which logs many warnings.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)

import diffusers  # noqa: E402
import transformers  # noqa: E402
from diffusers import Flux2KleinPipeline  # noqa: E402

from worker.engines.errors import WeightsError  # noqa: E402
from worker.engines.folder import WeightsFolder  # noqa: E402
from worker.engines.prompt_encoder import truncate_text_encoder  # noqa: E402
from worker.engines.tensor_check import check_tensors  # noqa: E402


def silence_libraries() -> None:
    """Turn off the progress bars and warnings of diffusers and transformers."""
    for library in (diffusers, transformers):
        library_logging: Any = library.utils.logging
        library_logging.set_verbosity_error()
        library_logging.disable_progress_bar()


def load_pipeline(folder: WeightsFolder, dtype: torch.dtype) -> Any:
    """Return the pipeline in host memory with a truncated text encoder. Any: diffusers has no types.

    Raises `WeightsError` if the files hold other tensors than the model classes need or do not load, or the text encoder has too few layers.
    """
    silence_libraries()
    check_tensors(folder.path)
    pipeline_class: Any = Flux2KleinPipeline
    try:
        pipe = pipeline_class.from_pretrained(
            folder.path, local_files_only=True, use_safetensors=True, dtype=dtype
        )
    except Exception as exc:  # diffusers and transformers raise any type for bad files
        reason = str(exc).strip().splitlines()[0] if str(exc).strip() else type(exc).__name__
        raise WeightsError(f"{folder.path} does not load: {reason}") from exc
    layers = pipe.text_encoder.config.num_hidden_layers
    last_layer = max(folder.manifest.text_encoder_out_layers)
    if layers < last_layer:
        raise WeightsError(
            f"{folder.path}/text_encoder has {layers} layers, but text_encoder_out_layers in klein.json "
            f"needs {last_layer}"
        )
    truncate_text_encoder(pipe, last_layer)  # before it takes device memory
    pipe.set_progress_bar_config(disable=True)
    return pipe
