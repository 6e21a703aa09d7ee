"""Selects the fastest of torch's exact attention kernels by timing them on this device."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

from worker.engines import OnStatus
from worker.engines.quantization import signal_to_noise_db

NATIVE = "native"
# Exact kernels only: no quantised attention (sage), none that downloads code from the Hugging Face hub.
CANDIDATES = {
    "cuda": (NATIVE, "_native_cudnn", "_native_flash", "_native_efficient", "flash", "_flash_3"),
    "cpu": (NATIVE, "_native_flash", "_native_math"),
}
_TRIALS = 5
_MAX_TIME_RATIO = 0.95  # a smaller gain is not worth different bytes for the same seed
_MIN_SNR_DB = 35.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionShape:
    """Gives the dimensions of one attention call of the model."""

    tokens: int
    heads: int
    head_dim: int


TimeBackends = Callable[[AttentionShape, torch.device, torch.dtype], dict[str, float]]
"""Returns the seconds of each backend that runs on a device."""


def select_attention_backend(
    pipe: Any,
    tokens: int,
    device: torch.device,
    on_status: OnStatus,
    time_backends: TimeBackends,
) -> str:
    """Return the name of the fastest backend for sequences of `tokens`, and report all timings."""
    config = pipe.transformer.config
    shape = AttentionShape(
        tokens=tokens, heads=config.num_attention_heads, head_dim=config.attention_head_dim
    )
    seconds = time_backends(shape, device, pipe.transformer.dtype)
    selected = fastest_backend(seconds)
    timings = ", ".join(f"{name} {value * 1000:.2f} ms" for name, value in seconds.items())
    on_status(f"attention {selected} ({tokens} tokens: {timings})")
    return selected


def time_attention_backends(
    shape: AttentionShape, device: torch.device, dtype: torch.dtype
) -> dict[str, float]:
    """Return the median seconds of each backend that runs here and agrees with the native one."""
    generator = torch.Generator().manual_seed(0)
    size = (3, 1, shape.tokens, shape.heads, shape.head_dim)
    query, key, value = torch.randn(size, generator=generator).to(device, dtype)
    reference: torch.Tensor | None = None
    seconds = {}
    for name in CANDIDATES[device.type]:
        try:
            backend = AttentionBackendName(name)
            with torch.inference_mode():
                output = dispatch_attention_fn(query, key, value, backend=backend)
                times = [_time(query, key, value, backend, device) for _ in range(_TRIALS)]
        except (RuntimeError, ValueError, TypeError, ImportError):
            continue  # not built in, not installed, or not for this chip and dtype
        reference = output if reference is None else reference
        if signal_to_noise_db(reference, output) >= _MIN_SNR_DB:
            seconds[name] = statistics.median(times)
    return seconds


def fastest_backend(seconds: dict[str, float]) -> str:
    """Return the native backend, or another one if it takes less than 95 % of the native time."""
    best = min(seconds, key=lambda name: seconds[name], default=NATIVE)
    is_clearly_faster = best != NATIVE and seconds[best] < _MAX_TIME_RATIO * seconds.get(
        NATIVE, 0.0
    )
    return best if is_clearly_faster else NATIVE


def _time(query: Any, key: Any, value: Any, backend: Any, device: torch.device) -> float:
    _synchronize(device)
    started = time.perf_counter()
    dispatch_attention_fn(query, key, value, backend=backend)
    _synchronize(device)
    return time.perf_counter() - started


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
