"""Measures the 4B's shape on a GPU, one step in each call: `python -m benchmarks.gpu_steps STEP FOLDER`.

`benchmarks.gpu_all` runs the steps one after the other. Each writes FOLDER/STEP.json after every value, so that a
failure loses only what was not measured yet. `--rehearse` runs a tiny shape on any machine.
"""

import argparse
import io
import json
import math
import platform
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image

from benchmarks.backlog import Backlog
from benchmarks.full_size import SMALL, Dimensions, write_random_weights
from tests.support import processes
from worker.engines import Order, Tuning
from worker.engines.attention import AttentionShape, time_attention_backends
from worker.engines.device import device_name, synchronize
from worker.engines.flux2_klein import Flux2KleinEngine
from worker.engines.folder import inspect_folder
from worker.engines.tuning import Quantization

STEPS = 4
BATCH = 4
Values = Iterator[tuple[str, Any]]
"""Names and values, as they are measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much is measured."""

    dimensions: Dimensions = field(default_factory=Dimensions)
    sides: tuple[int, int] = (512, 1024)
    """Pixels."""
    large_side: int = 2048
    times: int = 10
    waiting: int = 50
    quantization: Quantization = Quantization.FP8
    matrix: int = 8192
    sustained_s: float = 3.0


FULL = Scale()
REHEARSAL = Scale(
    dimensions=SMALL,
    sides=(64, 128),
    large_side=192,
    times=2,
    waiting=3,
    quantization=Quantization.INT8_WEIGHT_ONLY,
    matrix=256,
    sustained_s=0.2,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every step knows."""

    folder: Path
    scale: Scale
    device: torch.device

    @property
    def weights(self) -> Path:
        """Return the checkpoint, which the first step writes."""
        return self.folder / "weights"


def median_ms(call: Callable[[], object], times: int) -> dict[str, float]:
    """Time a call after one warm-up call. Return the median and the quartiles in milliseconds."""
    call()
    times_ms = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        times_ms.append((time.perf_counter() - started) * 1000)
    low, middle, high = statistics.quantiles(times_ms, n=4)
    return {"median_ms": round(middle, 2), "low_ms": round(low, 2), "high_ms": round(high, 2)}


def write_weights(bench: Bench) -> Values:
    """Write the checkpoint with random weights."""
    yield "device", device_name(bench.device)
    yield "torch", torch.__version__
    yield "diffusers", diffusers.__version__
    yield "python", platform.python_version()
    started = time.perf_counter()
    write_random_weights(bench.weights, bench.device.type, bench.scale.dimensions)
    yield "seconds", round(time.perf_counter() - started, 1)
    files = bench.weights.rglob("*.safetensors")
    yield "gb", round(sum(file.stat().st_size for file in files) / 1e9, 2)


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


def measure_diffusers(bench: Bench) -> Values:
    """Time the pipeline of diffusers called from a script, including PNG."""
    manifest = inspect_folder(bench.weights).manifest
    pipeline: Any = diffusers.Flux2KleinPipeline
    dtype = torch.bfloat16 if bench.device.type == "cuda" else torch.float32
    pipe = pipeline.from_pretrained(bench.weights, local_files_only=True, dtype=dtype)
    pipe.to(bench.device).set_progress_bar_config(disable=True)

    def call(side: int) -> None:
        image = pipe(
            prompt="a house",
            width=side,
            height=side,
            num_inference_steps=STEPS,
            guidance_scale=1.0,
            max_sequence_length=manifest.max_sequence_length,
            text_encoder_out_layers=manifest.text_encoder_out_layers,
        ).images[0]
        image.save(io.BytesIO(), "PNG")

    for side in bench.scale.sides:
        yield f"image_{side}", median_ms(lambda side=side: call(side), bench.scale.times)  # type: ignore[misc]  # a default


def measure_bf16(bench: Bench) -> Values:
    """Measure the engine without quantisation."""
    yield from _measure_engine(bench, Quantization.NONE)


def measure_quantized(bench: Bench) -> Values:
    """Measure the engine with quantised weights, and compare its image with the one of the step before."""
    yield from _measure_engine(bench, bench.scale.quantization)


def measure_backlog(bench: Bench) -> Values:
    """Measure the whole system under a backlog."""
    scale = bench.scale
    backlog = Backlog(weights=bench.weights, side=scale.sides[-1], waiting=scale.waiting, rounds=2)
    seconds, busy = backlog.measure_served()
    yield "images_per_s", round(scale.waiting / min(seconds), 3)
    if busy:
        yield "gpu_busy_percent", round(statistics.mean(busy), 1)


def run_tests(bench: Bench) -> Values:
    """Run the tests that need a GPU on the same weights, and count their outcomes."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "gpu",
        "tests/gpu",
        "-v",
        "-p",
        "no:cacheprovider",
    ]
    command += ["--gpu-weights", str(bench.weights)] if bench.device.type == "cuda" else []
    outcomes: Counter[str] = Counter()
    failed = []
    with processes.started(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None  # noqa: S101 -- PIPE above
        for line in running.stdout:
            print(line, end="", flush=True)
            if match := re.match(r"(tests/\S+).* (PASSED|FAILED|ERROR|SKIPPED)", line):
                outcomes[match[2].lower()] += 1
                failed += [match[1]] if match[2] in {"FAILED", "ERROR"} else []
                yield "outcomes", dict(outcomes)
                yield "failed", failed


def _measure_engine(bench: Bench, quantization: Quantization) -> Values:
    """Time new and repeated prompts, the parts of an image, an edit, a batch, and measure peak memory."""
    scale, device = bench.scale, bench.device
    started = time.perf_counter()
    lines: list[str] = []

    def on_status(line: str) -> None:
        print(f"start: {line}", flush=True)
        lines.append(line)

    tuning = Tuning(
        quantization=quantization,
        batch=BATCH,
        warm_sizes=tuple((side, side) for side in reversed(scale.sides)),
    )
    engine = Flux2KleinEngine(inspect_folder(bench.weights), None, tuning, on_status)
    engine.warm_up()
    yield "start_s", round(time.perf_counter() - started, 1)
    yield "start", lines
    image = _generate(engine, scale.sides[-1])
    np.save(bench.folder / f"image-{quantization}.npy", image)
    exact = bench.folder / f"image-{Quantization.NONE}.npy"
    if quantization is not Quantization.NONE and exact.exists():
        error = float(np.mean((image.astype(float) - np.load(exact)) ** 2))
        yield "psnr_db", round(10 * math.log10(255**2 / max(error, 1e-9)), 1)
    fresh = (f"a house {number}" for number in range(10_000))
    for side in scale.sides:
        yield (
            f"image_{side}",
            median_ms(lambda side=side: _generate(engine, side, next(fresh)), scale.times),  # type: ignore[misc]  # a default
        )
    yield from _measure_parts(engine, bench, fresh)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    edit = median_ms(
        lambda: _generate(engine, scale.sides[-1], reference=file.getvalue()), scale.times
    )
    yield f"edit_{scale.sides[-1]}", edit
    count = engine.checkpoint.batch
    yield "batch", count
    for side in scale.sides:

        def generate_batch(side: int = side) -> None:
            orders = [_order(side, next(fresh), seed=seed) for seed in range(count)]
            engine.generate_batch(orders, _ignore)

        yield f"batch_{side}", median_ms(generate_batch, max(2, scale.times // 2))
    for side in (scale.sides[-1], scale.large_side):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        _generate(engine, side)
        if device.type == "cuda":
            yield f"peak_gb_{side}", round(torch.cuda.max_memory_allocated() / 1e9, 2)


def _measure_parts(engine: Flux2KleinEngine, bench: Bench, fresh: Iterator[str]) -> Values:
    """Time the text encoder and the decoder alone, to find out where the time of an image goes."""
    model, side = engine.model, bench.scale.sides[-1]

    def encode() -> None:
        model.prompt_encoder.encode(next(fresh))
        synchronize(bench.device)

    channels = model.pipe.vae.config.latent_channels
    latents = torch.zeros(1, channels, side // 8, side // 8, device=bench.device, dtype=model.dtype)

    def decode() -> None:
        model.pipe.vae.decode(latents, return_dict=False)
        synchronize(bench.device)

    with model.inference():
        yield "encode_prompt", median_ms(encode, bench.scale.times)
        yield f"decode_{side}", median_ms(decode, bench.scale.times)


def _order(side: int, prompt: str, *, seed: int = 7, reference: bytes = b"") -> Order:
    return Order(
        prompt=prompt,
        width=side,
        height=side,
        steps=STEPS,
        guidance=1.0,
        seeds=(seed,),
        reference_files=(reference,) if reference else (),
    )


def _generate(
    engine: Flux2KleinEngine, side: int, prompt: str = "a house", reference: bytes = b""
) -> Any:
    return engine.generate(_order(side, prompt, reference=reference), _ignore).images[0]


def _ignore(_step: int, _steps: int) -> None:
    pass


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


MEASUREMENTS: dict[str, Callable[[Bench], Values]] = {
    "weights": write_weights,
    "ceilings": measure_ceilings,
    "diffusers": measure_diffusers,
    "bf16": measure_bf16,
    "quantized": measure_quantized,
    "backlog": measure_backlog,
    "tests": run_tests,
}


def main() -> None:
    """Run one step, and write each value as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=MEASUREMENTS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rehearse", action="store_true")
    arguments = parser.parse_args()
    bench = Bench(
        folder=arguments.folder,
        scale=REHEARSAL if arguments.rehearse else FULL,
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
    )
    values: dict[str, Any] = {}
    for name, value in MEASUREMENTS[arguments.step](bench):
        values[name] = value
        print(f"{name}: {value}", flush=True)
        (bench.folder / f"{arguments.step}.json").write_text(json.dumps(values))


if __name__ == "__main__":
    main()
