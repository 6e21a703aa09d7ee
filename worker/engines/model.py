"""Loads a model onto a device: pipeline, precision, placement, prompt encoder and LoRAs."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from worker.engines import OnStatus, Tuning
from worker.engines.decode_memory import DecodeMemory
from worker.engines.device import (
    choose_device,
    compute_capability,
    device_name,
    event_recorder,
    free_memory_bytes,
)
from worker.engines.errors import UnusableSetting
from worker.engines.folder import WeightsFolder
from worker.engines.host_memory import available_memory_bytes
from worker.engines.lora_manager import LoraManager
from worker.engines.manifest import Manifest
from worker.engines.offloading import Offloader
from worker.engines.pipeline import load_pipeline
from worker.engines.placement import Placement, choose_placement, component_sizes
from worker.engines.precision import (
    Float32Products,
    choose_weights_dtype,
    needs_float32_products,
)
from worker.engines.previews import enable_preview_callback
from worker.engines.prompt_encoder import PromptEncoder
from worker.engines.quantization import QuantizationRecipe, check_capability
from worker.engines.start_memory import StartMemory
from worker.engines.step_reporter import DeviceEvent
from worker.engines.tuning import Quantization


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """Holds a pipeline and what all its calls share. Only one call may use it at a time."""

    pipe: Any
    """A Flux2KleinPipeline. Any: diffusers has no types."""
    manifest: Manifest
    device: torch.device
    dtype: torch.dtype
    float32_products: bool
    """Whether bfloat16 tensors are multiplied in float32. See `worker.engines.precision`."""
    placement: Placement
    start_memory: StartMemory
    offloader: Offloader
    prompt_encoder: PromptEncoder
    loras: LoraManager
    decode_memory: DecodeMemory
    found_bytes: int
    """Free memory of the device, or of the host for a CPU, before the weights were loaded. 0 means unknown."""
    record_event: Callable[[], DeviceEvent] | None
    """Records an event in the device's queue. None for a CPU, whose calls return when they are done."""

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Enter the context that every call of the pipeline needs: no gradients, and products that the CPU is fast at.

        Without gradients means inference mode, unless weights move: those would become inference tensors, which
        cannot move again.
        """
        is_resident = self.placement is Placement.RESIDENT
        with ExitStack() as contexts:
            contexts.enter_context(torch.inference_mode() if is_resident else torch.no_grad())
            if self.float32_products:
                contexts.enter_context(Float32Products())
            yield

    def clear_caches(self) -> None:
        """Release cached embeddings and LoRAs, and what a failed call left on the device."""
        self.offloader.offload_all()  # first: LoRAs are removed from the weights on the host
        self.prompt_encoder.clear_cache()
        self.loras.clear()


def load_model(  # noqa: PLR0913 -- the last two are for tests
    folder: WeightsFolder,
    loras: Path | None,
    tuning: Tuning,
    on_status: OnStatus,
    *,
    recipe: QuantizationRecipe | None = None,
    placement: Placement | None = None,
) -> LoadedModel:
    """Load an inspected folder onto the best device.

    The blocks of what is to be quantised stay on the host until `quantize_model` and `quantize_text_encoder` quantise
    them one by one.
    `placement` overrides the choice by free memory. Raises `WeightsError` and `UnusableSetting`.
    """
    device = choose_device(tuning.device)
    if unsupported := tuning.unsupported_on(device.type):
        raise UnusableSetting(f"{unsupported} does not run on the GPU of a Mac. Unset it")
    if recipe is not None:
        check_capability(recipe, device_name(device), compute_capability(device))
    dtype = choose_weights_dtype(device, folder.size_bytes)
    host_bytes = available_memory_bytes()
    pipe = load_pipeline(folder, dtype, on_status)
    free_bytes = free_memory_bytes(device)
    sizes = component_sizes(
        pipe, recipe.name if recipe else Quantization.NONE, tuning.text_encoder_quantization
    )
    if placement is None and free_bytes is not None:
        placement = choose_placement(free_bytes, sizes)
    placement = placement or Placement.RESIDENT
    start_memory = StartMemory(placement=placement, sizes=sizes, free_bytes=free_bytes)
    with start_memory.explain():
        offloader = Offloader(
            pipe, placement, device, on_status, streamed=_streamed(pipe, recipe, tuning)
        )
    enable_preview_callback(pipe)
    return LoadedModel(
        pipe=pipe,
        manifest=folder.manifest,
        device=device,
        dtype=dtype,
        float32_products=needs_float32_products(device, dtype),
        placement=placement,
        start_memory=start_memory,
        offloader=offloader,
        prompt_encoder=PromptEncoder(pipe, folder.manifest),
        loras=LoraManager(pipe, loras),
        found_bytes=host_bytes if free_bytes is None else free_bytes,
        decode_memory=DecodeMemory(device=device, tile_side=pipe.vae.tile_sample_min_size),
        record_event=event_recorder(device),
    )


def _streamed(pipe: Any, recipe: QuantizationRecipe | None, tuning: Tuning) -> list[Any]:
    """Return the components that will be quantised."""
    streamed = [] if recipe is None else [pipe.transformer]
    if tuning.text_encoder_quantization is not Quantization.NONE:
        streamed.append(pipe.text_encoder)
    return streamed
