"""Selects the device of an engine, reads its memory, and translates torch's device errors."""

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from worker.engines.errors import DeviceLost, OutOfMemory, UnusableSetting
from worker.engines.step_reporter import DeviceEvent
from worker.engines.tuning import DeviceChoice

# Message parts of RuntimeErrors without a class of their own: host allocators, cuBLAS, cuDNN, Triton.
_OUT_OF_MEMORY = (
    "not enough memory",
    "can't allocate memory",
    "out of memory",
    "STATUS_ALLOC_FAILED",
)
DRIVER = Path("/proc/driver/nvidia/version")  # exists where the driver of NVIDIA is loaded
_DEVICE_LOST = ("CUDA error", "CUDA driver error", "CUDNN_STATUS", "Triton Error [CUDA]")


def choose_device(choice: DeviceChoice = DeviceChoice.AUTO) -> torch.device:
    """Return the first visible GPU, or the CPU if there is none.

    Raises `UnusableSetting` if there is no GPU but one was chosen, or if this build of torch should use it but cannot.
    """
    if choice in {DeviceChoice.AUTO, DeviceChoice.CUDA} and torch.cuda.is_available():
        return torch.device("cuda")
    if choice is DeviceChoice.MPS:
        if torch.backends.mps.is_available():
            return torch.device("mps")
        raise UnusableSetting(
            f"KLEIN_DEVICE=mps: torch {torch.__version__} finds no GPU of a Mac with macOS 14 or newer. Set KLEIN_DEVICE=auto"
        )
    is_gpu_expected = torch.version.cuda and DRIVER.exists() and not _is_hidden()
    if choice is DeviceChoice.CUDA or (choice is DeviceChoice.AUTO and is_gpu_expected):
        raise UnusableSetting(
            f"KLEIN_DEVICE={choice}: torch {torch.__version__} cannot use a GPU: {_why_no_gpu()}. "
            "Mend that, or set KLEIN_DEVICE=cpu"
        )
    return torch.device("cpu")


def _is_hidden() -> bool:
    """Whether the environment hides all GPUs."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0") in {"", "-1"}


def _why_no_gpu() -> str:
    if not torch.version.cuda and not torch.version.hip:
        return "it is a build for the CPU"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # torch's own
    except (RuntimeError, AssertionError) as exc:
        return _first_line(exc).rstrip(". ")
    return "it sees none"


def device_name(device: torch.device) -> str:
    """Return the name of the GPU model, or of torch's device type, such as `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def compute_capability(device: torch.device) -> tuple[int, int] | None:
    """Return the CUDA compute capability, or None for other devices. AMD's GPUs have numbers of another meaning."""
    if device.type != "cuda" or torch.version.hip:
        return None
    return torch.cuda.get_device_capability(device)


def free_memory_bytes(device: torch.device) -> int | None:
    """Return the free device memory, including torch's cached blocks. None for a CPU."""
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    if device.type != "cuda":
        return None
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + cached


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything that is queued. A CPU has no queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def event_recorder(device: torch.device) -> Callable[[], DeviceEvent] | None:
    """Return a function that records an event in the device's queue. None for a CPU, which has no queue."""
    if device.type == "mps":
        return _record_mps_event
    if device.type != "cuda":
        return None

    def record_event() -> torch.cuda.Event:
        # blocking: otherwise a CPU core spins while it waits
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # torch's own
        event.record()
        return event

    return record_event


def _record_mps_event() -> torch.mps.event.Event:
    event = torch.mps.event.Event()
    event.record()
    return event


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
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _first_line(exc: Exception) -> str:
    return str(exc).partition("\n")[0]
