"""Which of torch's attention kernels is the fastest here; found by trying them, and said in the log."""

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn

from worker.engines import Say
from worker.engines.quantization import signal_to_noise_db

NATIVE = "native"
# Only those that compute the same numbers; what quantises (sage) or asks the hub is left out.
CANDIDATES = {
    "cuda": (NATIVE, "_native_cudnn", "_native_flash", "_native_efficient", "flash", "_flash_3"),
    "cpu": (NATIVE, "_native_flash", "_native_math"),
}
_TRIALS = 5
_GAIN = 0.95  # of native's time: what is hardly faster is not worth other bytes for the same seed
_LEAST_DB = 35.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What one attention of the model looks like."""

    tokens: int
    heads: int
    head_width: int


def choose_attention(pipe: Any, tokens: int, device: torch.device, say: Say) -> str:
    """Try the kernels on an attention as the pipeline's, and say which is taken and why."""
    config = pipe.transformer.config
    shape = Shape(
        tokens=tokens, heads=config.num_attention_heads, head_width=config.attention_head_dim
    )
    seconds = measure_attention(shape, device, pipe.transformer.dtype)
    chosen = fastest(seconds)
    shown = ", ".join(f"{name} {value * 1000:.2f} ms" for name, value in seconds.items())
    say(f"attention {chosen} ({tokens} tokens: {shown})")
    return chosen


def measure_attention(shape: Shape, device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """Give the seconds of each candidate that works here and computes what the native one does."""
    drawn = torch.Generator().manual_seed(0)
    size = (3, 1, shape.tokens, shape.heads, shape.head_width)
    query, key, value = torch.randn(size, generator=drawn).to(device, dtype)
    exact: torch.Tensor | None = None
    seconds = {}
    for name in CANDIDATES[device.type]:
        try:
            backend = AttentionBackendName(name)
            with torch.inference_mode():
                found = dispatch_attention_fn(query, key, value, backend=backend)
                times = [_time(query, key, value, backend, device) for _ in range(_TRIALS)]
        except (RuntimeError, ValueError, TypeError, ImportError):
            continue  # not built in, not installed, or not for this chip and type
        exact = found if exact is None else exact
        if signal_to_noise_db(exact, found) >= _LEAST_DB:
            seconds[name] = statistics.median(times)
    return seconds


def fastest(seconds: dict[str, float]) -> str:
    """Choose: native unless another one is clearly faster."""
    best = min(seconds, key=lambda name: seconds[name], default=NATIVE)
    return best if best == NATIVE or seconds[best] < _GAIN * seconds.get(NATIVE, 0.0) else NATIVE


def _time(query: Any, key: Any, value: Any, backend: Any, device: torch.device) -> float:
    _wait(device)
    started = time.perf_counter()
    dispatch_attention_fn(query, key, value, backend=backend)
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
