"""Explains why a device runs out of memory while a model starts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from worker.engines.device import translate_device_errors
from worker.engines.errors import OutOfMemory, UnusableSetting
from worker.engines.placement import ComponentSizes, Placement, required_bytes

PROCESS_BYTES = 10**9
"""What a process takes besides weights and activations: the context of the device, or the libraries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartMemory:
    """Holds what a placement needs on the device, and what was free when it was chosen."""

    placement: Placement
    sizes: ComponentSizes
    free_bytes: int | None
    """None means the device is the host's own memory."""

    @property
    def process_bytes(self) -> int:
        """Return the peak memory of the engine process. A CPU frees what a call needed. A GPU's memory stays cached."""
        if self.free_bytes is None:
            return self.sizes.total + PROCESS_BYTES
        return required_bytes(self.placement, self.sizes) + PROCESS_BYTES

    @contextmanager
    def explain(self) -> Iterator[None]:
        """Raise `UnusableSetting`, which says what was needed and what to set, if memory runs out in the body."""
        try:
            with translate_device_errors():
                yield
        except OutOfMemory:
            message = self._message()
        else:
            return
        raise UnusableSetting(message)

    def _message(self) -> str:
        if self.free_bytes is None:
            return (
                f"memory ran out while the model started: its weights take {self.sizes.total / 1e9:.1f} GB. "
                "Stop other programs, or use a machine with more memory"
            )
        needed = required_bytes(self.placement, self.sizes)
        return (
            f"the device ran out of memory while the model started: {self.placement} needs {needed / 1e9:.1f} GB, "
            f"and {self.free_bytes / 1e9:.1f} GB were free. {self.sizes.advice}"
        )
