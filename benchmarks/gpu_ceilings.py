"""Measures what a GPU sustains, without the model: matrix products, copies and attention kernels."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.gpu_bench import Bench, Values
from worker.engines.attention import AttentionShape, time_attention_backends
from worker.engines.device import synchronize


def measure_ceilings(bench: Bench) -> Values:
    """Measure what the device sustains: matrix products, copies and attention kernels."""
    device, size = bench.device, bench.scale.matrix
    one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    yield "bf16_tflops", _sustained_tflops(bench, lambda: one @ other)
    if device.type == "cuda" and torch.cuda.get_device_capability() >= (8, 9):
        left, right = (matrix.to(torch.float8_e4m3fn) for matrix in (one, other))
        scale = torch.ones((), device=device)
        product: Any = torch._scaled_mm  # noqa: SLF001 -- torch has no other name for it
        yield (
            "fp8_tflops",
            _sustained_tflops(
                bench,
                lambda: product(left, right.t(), scale, scale, out_dtype=torch.bfloat16),
            ),
        )
    source = torch.empty(size * size * 8, device=device, dtype=torch.bfloat16)
    target = torch.empty_like(source)
    seconds = _sustained_s(bench, lambda: target.copy_(source))
    yield "copy_gb_per_s", round(2 * source.nbytes / seconds / 1e9)
    dimensions = bench.scale.dimensions
    for side in bench.scale.sides:
        shape = AttentionShape(
            tokens=side * side // 256 + 512, heads=dimensions.heads, head_dim=128
        )
        times = time_attention_backends(shape, device, torch.bfloat16)
        yield f"attention_ms_{side}", {name: round(s * 1000, 3) for name, s in times.items()}


def _sustained_s(bench: Bench, call: Callable[[], object]) -> float:
    """Return the seconds of one call after the clocks of the device have settled under load."""
    for _ in range(3):
        call()
    synchronize(bench.device)
    durations = []
    until = time.perf_counter() + bench.scale.sustained_s
    while time.perf_counter() < until:
        started = time.perf_counter()
        for _ in range(10):
            call()
        synchronize(bench.device)
        durations.append((time.perf_counter() - started) / 10)
    return statistics.median(durations[len(durations) // 2 :])


def _sustained_tflops(bench: Bench, product: Callable[[], object]) -> float:
    return round(2 * bench.scale.matrix**3 / _sustained_s(bench, product) / 1e12, 3)
