"""Loads diffusers' Flux2KleinPipeline from a checkpoint into host memory."""

from typing import Any

import torch

from worker.engines import OnStatus
from worker.engines.component import check_component, load_component
from worker.engines.errors import WeightsError
from worker.engines.folder import WeightsFolder
from worker.engines.libraries import diffusers, silence_libraries
from worker.engines.prompt_encoder import truncate_text_encoder


def load_pipeline(
    folder: WeightsFolder, dtype: torch.dtype, on_status: OnStatus = lambda _line: None
) -> Any:
    """Return the pipeline in host memory with a truncated text encoder. Any: diffusers has no types.

    Raises `WeightsError` if the files hold other tensors than the model classes need or do not load, or the text encoder has too few layers.
    """
    silence_libraries()
    for source in folder.sources.components:
        summary = check_component(source)
        if summary.is_quantized:
            name, target = source.component.replace("_", " "), str(dtype).removeprefix("torch.")
            on_status(f"{name}: {summary.layout}; loaded as {target}")
    components = {
        source.component.value: load_component(source, dtype)
        for source in folder.sources.components
    }
    pipeline_class: Any = diffusers.Flux2KleinPipeline
    try:
        pipe = pipeline_class.from_pretrained(folder.path, local_files_only=True, **components)
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
