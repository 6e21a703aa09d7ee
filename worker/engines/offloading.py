"""Moves pipeline components between host and device memory."""

import time
from typing import Any

import torch
from accelerate import cpu_offload_with_hook

from worker.engines import OnStatus
from worker.engines.placement import Placement, module_bytes


class Offloader:
    """Places a pipeline's components, and moves offloaded ones to the device when they are called."""

    def __init__(
        self, pipe: Any, placement: Placement, device: torch.device, on_status: OnStatus
    ) -> None:
        self._hooks: list[Any] = []
        if placement is Placement.RESIDENT:
            pipe.to(device)
            return
        if placement is Placement.TEXT_ENCODER_OFFLOAD:
            pipe.transformer.to(device)
            pipe.vae.to(device)
            offloaded = [pipe.text_encoder]
            summary = "the text encoder moves to the device for each new prompt"
        else:
            offloaded = [pipe.text_encoder, pipe.transformer, pipe.vae]
            summary = "each component moves to the device for its turn"
        seconds = sum(_time_round_trip(module, device) for module in offloaded)
        moved_gb = sum(module_bytes(module) for module in offloaded) / 1e9
        on_status(
            f"{placement}: {summary}. Moving {moved_gb:.1f} GB there and back takes {seconds:.2f} s"
        )
        hook = None
        for module in offloaded:
            _, hook = cpu_offload_with_hook(module, device, prev_module_hook=hook)
            self._hooks.append(hook)

    def offload_all(self) -> None:
        """Move all offloaded components to the host. A cancelled order may have left one on the device."""
        for hook in self._hooks:
            hook.offload()


def _time_round_trip(module: Any, device: torch.device) -> float:
    started = time.perf_counter()
    module.to(device)
    module.to("cpu")
    return time.perf_counter() - started
