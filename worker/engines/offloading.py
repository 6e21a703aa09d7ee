"""Places pipeline components on the device, and gives the device the weights of the others for their turn."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device

from worker.engines import OnStatus
from worker.engines.device import synchronize
from worker.engines.host_memory import available_memory_bytes
from worker.engines.lent_weights import LentWeights
from worker.engines.placement import Placement
from worker.engines.quantization import repeated_blocks

_SUMMARIES = {
    Placement.TEXT_ENCODER_OFFLOAD: "the text encoder is copied to the device for each new prompt",
    Placement.MODEL_OFFLOAD: "each component is copied to the device for its turn",
}


_PIN_RESERVE = 2.0
"""The host must have so many times the memory of the weights before they are pinned."""


class Offloader:
    """Places a pipeline's components, and lends the weights of offloaded ones to the device when they are called."""

    def __init__(
        self,
        pipe: Any,
        placement: Placement,
        device: torch.device,
        on_status: OnStatus,
        streamed: Sequence[Any] = (),
    ) -> None:
        """Place the components.

        The blocks of a `streamed` component stay on the host until `convert_blocks`, and the device holds one of them
        at a time.
        """
        self._device = device
        self._streamed = {id(module): _Stream(module, device) for module in streamed}
        offloaded = {
            Placement.RESIDENT: [],
            Placement.TEXT_ENCODER_OFFLOAD: [pipe.text_encoder],
            Placement.MODEL_OFFLOAD: [pipe.text_encoder, pipe.transformer, pipe.vae],
        }[placement]
        self._lent: list[LentWeights] = []
        for module in (pipe.text_encoder, pipe.transformer, pipe.vae):
            stream = self._streamed.get(id(module))
            lent = LentWeights(module, without=stream.blocks if stream else ())
            if any(module is other for other in offloaded):
                self._lent.append(lent)
                add_hook_to_module(module, _OffloadHook(lent, self._lent, device))
            else:
                lent.lend(device)  # and never take it back
        if offloaded:
            pinned = self._pin()
            copied_gb = sum(lent.size_bytes for lent in self._lent) / 1e9
            seconds = sum(self._time_copy(lent) for lent in self._lent)
            on_status(
                f"{placement}: {_SUMMARIES[placement]}. Copying {copied_gb:.1f} GB takes {seconds:.2f} s{pinned}"
            )

    def convert_blocks(self, module: Any, convert: Callable[[Any], None]) -> None:
        """Move the blocks of a streamed component to the device one by one, convert each, and leave it where it belongs."""
        self.offload_all()
        stream = self._streamed.pop(id(module))
        stream.end()
        lent = next((lent for lent in self._lent if lent.module is module), None)
        for block in stream.blocks:
            block.to(self._device)
            convert(block)
            if lent is not None:
                block.to("cpu")
        if lent is not None:
            lent.without = ()

    def offload_all(self) -> None:
        """Release the device's copies of all offloaded components. A cancelled order may have left one there."""
        for lent in self._lent:
            lent.take_back()

    def _pin(self) -> str:
        """Pin the offloaded weights if the host has the memory. Else the pages of their files stay mapped."""
        lasting = [lent for lent in self._lent if id(lent.module) not in self._streamed]
        needed_bytes = _PIN_RESERVE * sum(lent.size_bytes for lent in lasting)
        if self._device.type != "cuda" or available_memory_bytes() < needed_bytes:
            return ""
        return " from pinned memory" if all(lent.pin() for lent in lasting) else ""

    def _time_copy(self, lent: LentWeights) -> float:
        started = time.perf_counter()
        lent.lend(self._device)
        synchronize(self._device)
        seconds = time.perf_counter() - started
        lent.take_back()
        return seconds


class _Stream:
    """Lends the device each block of a component for the time of its call."""

    def __init__(self, module: Any, device: torch.device) -> None:
        self.blocks = repeated_blocks(module)
        self._hooks = []
        for block in self.blocks:
            lent = LentWeights(block)
            self._hooks += [
                block.register_forward_pre_hook(lambda *_, lent=lent: lent.lend(device)),
                block.register_forward_hook(lambda *_, lent=lent: lent.take_back()),
            ]

    def end(self) -> None:
        """Lend no more."""
        for hook in self._hooks:
            hook.remove()


class _OffloadHook(ModelHook):  # type: ignore[misc]  # accelerate has no types
    """Brings a component's weights before it runs, after all others have left. diffusers calls it for the VAE too."""

    def __init__(
        self, lent: LentWeights, all_lent: list[LentWeights], device: torch.device
    ) -> None:
        self.execution_device = device  # where diffusers creates the latents
        self._lent = lent
        self._all_lent = all_lent

    def pre_forward(self, _module: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Lend the weights and move the arguments to the device."""
        for other in self._all_lent:
            if other is not self._lent:
                other.take_back()
        self._lent.lend(self.execution_device)
        return send_to_device(args, self.execution_device), send_to_device(
            kwargs, self.execution_device
        )
