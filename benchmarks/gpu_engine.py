"""Measures the engine on a GPU: images, edits, batches, the parts of an image, and peak memory."""

import io
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.gpu_bench import BATCH, STEPS, Bench, Values, median_ms
from worker.engines import Order, Tuning
from worker.engines.device import synchronize
from worker.engines.flux2_klein import Flux2KleinEngine
from worker.engines.folder import inspect_folder
from worker.engines.tuning import Quantization


def measure_bf16(bench: Bench) -> Values:
    """Measure the engine without quantisation."""
    yield from _measure_engine(bench, Quantization.NONE)


def measure_quantized(bench: Bench) -> Values:
    """Measure the engine with quantised weights, and compare its image with the one of the step before."""
    yield from _measure_engine(bench, bench.scale.quantization)


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
