"""Measures one engine configuration on the device of this machine, in a few minutes.

    python -m benchmarks.full_size /tmp/klein-4b
    python -m benchmarks.gpu --weights /tmp/klein-4b                        # bf16: limit, script, sizes, edit, memory
    python -m benchmarks.gpu --weights /tmp/klein-4b --quantization fp8     # the same in fp8, and PSNR against bf16
    python -m benchmarks.gpu --weights /tmp/klein-4b --batch 4              # and batches of four

Without a GPU it measures the built-in model.
"""

import argparse
import io
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import Flux2KleinPipeline
from PIL import Image

from worker.engines import Engine, Order, Tuning, open_engine
from worker.engines.device import release_cached_memory
from worker.engines.errors import EngineError
from worker.engines.folder import inspect_folder
from worker.engines.tuning import Compile, Quantization

BUILT_IN = Path("worker/weights/builtin")
STEPS = 4
# Teraflop of one image, 4 steps, text encoder and decoder included (1 multiply-add = 2 flop).
TERAFLOP = {512: 40.7 + 2.91 + 2.5, 1024: 139.3 + 2.91 + 10.5}
EDIT_TERAFLOP = 306.8 + 2.91 + 10.5 + 4.9  # one reference, both at 1024x1024
_MATRIX = 8192


def median_ms(call: Callable[[], object], times: int) -> str:
    """Time a call after one warm-up call. Return the median and the quartiles."""
    call()
    times_ms = []
    for _ in range(times):
        started = time.perf_counter()
        call()
        times_ms.append((time.perf_counter() - started) * 1000)
    low, middle, high = statistics.quantiles(times_ms, n=4)
    return f"{middle:.1f} ms ({low:.1f} to {high:.1f})"


def ceiling_tflops(device: torch.device) -> float:
    """Measure the speed of bfloat16 matrix products on this device."""
    size = _MATRIX if device.type == "cuda" else 1024
    one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    best = math.inf
    for _ in range(10):
        started = time.perf_counter()
        product = one @ other
        float(product[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best / 1e12


def generate(engine: Engine, side: int, prompt: str = "a house", reference: bytes = b"") -> Any:
    """Generate one image with seed 7."""
    order = Order(
        prompt=prompt,
        width=side,
        height=side,
        steps=STEPS,
        guidance=1.0,
        seeds=(7,),
        reference_files=(reference,) if reference else (),
    )
    return engine.generate(order, lambda _k, _n: None).images[0]


def measure_batch(engine: Engine, sides: list[int], times: int) -> None:
    """Time a full batch, for comparison with one image of a repeated prompt."""
    count = engine.checkpoint.batch
    for side in sides:
        orders = [
            Order(prompt="a house", width=side, height=side, steps=STEPS, guidance=1.0, seeds=(k,))
            for k in range(count)
        ]
        taken = median_ms(lambda o=orders: engine.generate_batch(o, lambda _k, _n: None), times)  # type: ignore[misc]  # a default
        show(f"engine, {side}x{side}, {count} at once, all together", taken)


def measure_script(weights: Path, device: torch.device, sides: list[int], times: int) -> None:
    """Time the pipeline called from a script, including PNG."""
    manifest = inspect_folder(weights).manifest
    pipeline: Any = Flux2KleinPipeline
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    pipe = pipeline.from_pretrained(weights, local_files_only=True, dtype=dtype).to(device)
    pipe.set_progress_bar_config(disable=True)

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

    for side in sides:
        show(f"script, {side}x{side}", median_ms(lambda side=side: call(side), times))  # type: ignore[misc]  # a default


def measure_engine(engine: Engine, device: torch.device, sides: list[int], times: int) -> None:
    """Time new and repeated prompts and an edit, and measure peak memory."""
    for side in sides:
        fresh = (f"a house {k}" for k in range(times + 1))
        taken = median_ms(lambda side=side, fresh=fresh: generate(engine, side, next(fresh)), times)  # type: ignore[misc]  # defaults
        show(f"engine, {side}x{side}, new prompt", taken)
        taken = median_ms(lambda side=side: generate(engine, side), times)  # type: ignore[misc]  # a default
        show(f"engine, {side}x{side}, kept prompt", taken)
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (sides[-1], sides[-1], 3), np.uint8)
    Image.fromarray(noise).save(file, "PNG")
    taken = median_ms(lambda: generate(engine, sides[-1], reference=file.getvalue()), times)
    show(f"engine, edit with one reference, {sides[-1]}x{sides[-1]}", taken)
    if device.type == "cuda":
        for side in (1024, 2048):
            torch.cuda.reset_peak_memory_stats()
            generate(engine, side)
            show(f"peak memory, {side}x{side}", f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB")


def show(what: str, value: str) -> None:
    """Print one row of the table."""
    print(f"| {what} | {value} |", flush=True)


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=BUILT_IN)
    parser.add_argument("--quantization", type=Quantization, default=Quantization.NONE)
    parser.add_argument("--compile", type=Compile, default=Compile.AUTO)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    manifest = inspect_folder(arguments.weights).manifest
    sides = [manifest.native_size // 2, manifest.native_size]
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    show(
        "device",
        f"{name}, torch {torch.__version__}, {arguments.weights}, {arguments.quantization}",
    )
    tflops = ceiling_tflops(device)
    show("bfloat16 ceiling, measured", f"{tflops:.2f} TF/s")
    if device.type == "cuda":
        for side, work in TERAFLOP.items():
            show(f"limit of the 4B, {side}x{side}", f"{work / tflops * 1000:.1f} ms")
        show("limit of the 4B, edit 1024x1024", f"{EDIT_TERAFLOP / tflops * 1000:.1f} ms")
    measure_script(arguments.weights, device, sides, arguments.times)
    release_cached_memory()
    exact = None
    if arguments.quantization is not Quantization.NONE:
        plain = open_engine(arguments.weights, None, Tuning(compile=Compile.OFF))
        exact = generate(plain, sides[-1]).astype(float)
        del plain
        release_cached_memory()
    tuning = Tuning(
        quantization=arguments.quantization, compile=arguments.compile, batch=arguments.batch
    )
    started = time.perf_counter()
    engine = open_engine(
        arguments.weights, None, tuning, lambda line: print(f"start: {line}", flush=True)
    )
    engine.warm_up()
    show("load and warm-up", f"{time.perf_counter() - started:.1f} s")
    measure_engine(engine, device, sides, arguments.times)
    if engine.checkpoint.batch > 1:
        measure_batch(engine, sides, arguments.times)
    if exact is not None:
        error = float(np.mean((generate(engine, sides[-1]).astype(float) - exact) ** 2))
        show("PSNR against bf16", f"{10 * math.log10(255**2 / max(error, 1e-9)):.1f} dB")


if __name__ == "__main__":
    try:
        main()
    except EngineError as exc:
        raise SystemExit(str(exc)) from None
