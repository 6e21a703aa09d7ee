"""Selects the fastest of torch's exact attention kernels by timing them on this device, once."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

from worker.engines import OnStatus
from worker.engines.device import device_name, synchronize
from worker.engines.kernel_choices import KernelChoices
from worker.engines.quantization import signal_to_noise_db

NATIVE = "native"
# Exact kernels only: no quantised attention (sage), none that downloads code from the Hugging Face hub.
CANDIDATES = {
    "cuda": (NATIVE, "_native_cudnn", "_native_flash", "_native_efficient", "flash", "_flash_3"),
    "cpu": (NATIVE, "_native_flash", "_native_math"),
}
_TRIALS = 9
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


def select_attention_backend(  # noqa: PLR0913 -- the last two are for tests
    pipe: Any,
    tokens: int,
    device: torch.device,
    on_status: OnStatus,
    time_backends: TimeBackends,
    choices: KernelChoices | None = None,
) -> str:
    """Return the name of the fastest backend for sequences of about `tokens`, and report why.

    Timings differ from start to start, and kernels in their last bits: the first choice for this device, version of
    torch and size is kept in `choices`.
    """
    config = pipe.transformer.config
    shape = AttentionShape(
        tokens=tokens, heads=config.num_attention_heads, head_dim=config.attention_head_dim
    )
    choices = choices or KernelChoices.open()
    key = _key(shape, device, pipe.transformer.dtype)
    if (choice := choices.get(key)) in CANDIDATES[device.type]:
        on_status(f"attention {choice} ({tokens} tokens, as chosen before)")
        return choice
    seconds = time_backends(shape, device, pipe.transformer.dtype)
    selected = fastest_backend(seconds)
    choices.keep(key, selected)
    timings = ", ".join(f"{name} {value * 1000:.2f} ms" for name, value in seconds.items())
    on_status(f"attention {selected} ({tokens} tokens: {timings})")
    return selected


def _key(shape: AttentionShape, device: torch.device, dtype: torch.dtype) -> str:
    size_class = 1 << (shape.tokens - 1).bit_length()
    return (
        f"{device_name(device)}, torch {torch.__version__}, {dtype}, "
        f"{shape.heads} heads of {shape.head_dim}, up to {size_class} tokens"
    )


def time_attention_backends(
    shape: AttentionShape, device: torch.device, dtype: torch.dtype
) -> dict[str, float]:
    """Return the median seconds of each backend that runs here and agrees with the native one."""
    generator = torch.Generator().manual_seed(0)
    size = (3, 1, shape.tokens, shape.heads, shape.head_dim)
    query, key, value = torch.randn(size, generator=generator).to(device, dtype)
    reference: torch.Tensor | None = None
    usable = []
    for name in CANDIDATES[device.type]:
        try:
            with torch.inference_mode():
                backend = AttentionBackendName(name)
                output = dispatch_attention_fn(query, key, value, backend=backend)
                synchronize(device)
        except (RuntimeError, ValueError, TypeError, ImportError):
            continue  # not built in, not installed, or not for this chip and dtype
        reference = output if reference is None else reference
        if signal_to_noise_db(reference, output) >= _MIN_SNR_DB:
            usable.append(name)
    times: dict[str, list[float]] = {name: [] for name in usable}
    with torch.inference_mode():
        for _ in range(_TRIALS):  # in turns, so that a change of the clock rate meets all of them
            for name in usable:
                backend = AttentionBackendName(name)
                times[name].append(_time(query, key, value, backend, device))
    return {name: statistics.median(trials) for name, trials in times.items()}


def fastest_backend(seconds: dict[str, float]) -> str:
    """Return the native backend, or another one if it takes less than 95 % of the native time."""
    best = min(seconds, key=lambda name: seconds[name], default=NATIVE)
    is_clearly_faster = best != NATIVE and seconds[best] < _MAX_TIME_RATIO * seconds.get(
        NATIVE, 0.0
    )
    return best if is_clearly_faster else NATIVE


def _time(query: Any, key: Any, value: Any, backend: Any, device: torch.device) -> float:
    synchronize(device)
    started = time.perf_counter()
    dispatch_attention_fn(query, key, value, backend=backend)
    synchronize(device)
    return time.perf_counter() - started
