"""Selects the device of an engine, reads its memory, and translates torch's device errors."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from worker.engines.errors import DeviceLost, OutOfMemory

# Message parts of RuntimeErrors without a class of their own: host allocators, cuBLAS, cuDNN, Triton.
_OUT_OF_MEMORY = (
    "not enough memory",
    "can't allocate memory",
    "out of memory",
    "STATUS_ALLOC_FAILED",
)
_DEVICE_LOST = ("CUDA error", "CUDA driver error", "CUDNN_STATUS", "Triton Error [CUDA]")


def choose_device() -> torch.device:
    """Return the first visible GPU, or the CPU if there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """Return the name of the GPU model, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def compute_capability(device: torch.device) -> tuple[int, int] | None:
    """Return the CUDA compute capability, or None for a CPU."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else None


def free_memory_bytes(device: torch.device) -> int | None:
    """Return the free device memory, including torch's cached blocks. None for a CPU."""
    if device.type != "cuda":
        return None
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + cached


def event_recorder(device: torch.device) -> Callable[[], torch.cuda.Event] | None:
    """Return a function that records an event in the device's queue. None for a CPU, which has no queue."""
    if device.type != "cuda":
        return None

    def record_event() -> torch.cuda.Event:
        # blocking: otherwise a CPU core spins while it waits
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # torch's own
        event.record()
        return event

    return record_event


@contextmanager
def translate_device_errors() -> Iterator[None]:
    """Raise torch's memory and device errors as `OutOfMemory` and `DeviceLost`."""
    is_out_of_memory = False
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        is_out_of_memory = True
    except RuntimeError as exc:  # torch.AcceleratorError is a subclass
        if any(part in str(exc) for part in _OUT_OF_MEMORY):
            is_out_of_memory = True
        elif isinstance(exc, torch.AcceleratorError) or any(p in str(exc) for p in _DEVICE_LOST):
            raise DeviceLost(f"the device failed: {_first_line(exc)}") from exc
        else:
            raise
    if is_out_of_memory:
        # Outside the except block, because the traceback keeps the tensors of its frames alive.
        release_cached_memory()
        raise OutOfMemory


def release_cached_memory() -> None:
    """Collect garbage and return torch's cached blocks to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _first_line(exc: Exception) -> str:
    return str(exc).partition("\n")[0]
