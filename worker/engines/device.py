"""The device that an engine runs on: which one, what it is called, and what its errors mean."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from worker.engines.errors import DeviceLost, OutOfMemory

# What else is said than by a class of torch's: by the allocators of the host, cuBLAS, cuDNN, and Triton's kernels.
_MEMORY = ("not enough memory", "can't allocate memory", "out of memory", "STATUS_ALLOC_FAILED")
_LOST = ("CUDA error", "CUDA driver error", "CUDNN_STATUS", "Triton Error [CUDA]")


def choose_device() -> torch.device:
    """Give the first GPU that is visible, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """Say what it is called."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def capability_of(device: torch.device) -> tuple[int, int] | None:
    """Give CUDA's compute capability, None for a CPU."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else None


def free_bytes(device: torch.device) -> int | None:
    """Tell how much memory the device has left for us; None where that is the host's own."""
    if device.type != "cuda":
        return None
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + cached  # what torch holds for later counts as used


def marker(device: torch.device) -> Callable[[], torch.cuda.Event] | None:
    """Give what marks a place in the device's queue; None where calls return when their work is done."""
    if device.type != "cuda":
        return None

    def mark() -> torch.cuda.Event:
        # blocking: else a core spins while it waits
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # torch's own
        event.record()
        return event

    return mark


@contextmanager
def translated_errors() -> Iterator[None]:
    """Give the errors of torch the names of `worker.engines.errors`."""
    out_of_memory = False
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError):
        out_of_memory = True
    except RuntimeError as exc:  # torch.AcceleratorError too
        if any(sign in str(exc) for sign in _MEMORY):
            out_of_memory = True
        elif isinstance(exc, torch.AcceleratorError) or any(sign in str(exc) for sign in _LOST):
            raise DeviceLost(f"the device failed: {_first_line(exc)}") from exc
        else:
            raise
    if out_of_memory:
        # Outside the except block: a traceback would keep the tensors of its frames alive.
        free_cached()
        raise OutOfMemory


def free_cached() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _first_line(exc: Exception) -> str:
    return str(exc).partition("\n")[0]
