"""The device that an engine runs on: which one, what it is called, and what its errors mean."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from worker.engines.errors import DeviceLost, OutOfMemory


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
    """Tell how much memory the device has left; None where that is the host's own."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


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
    except torch.AcceleratorError as exc:
        raise DeviceLost(f"the device failed: {_first_line(exc)}") from exc
    except RuntimeError as exc:
        if "not enough memory" in str(exc) or "can't allocate memory" in str(exc):
            out_of_memory = True
        elif "CUDA error" in str(exc) or "CUDNN_STATUS" in str(exc):
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
