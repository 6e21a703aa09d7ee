"""Measures the 4B's shape on a GPU, one step in each call: `python -m benchmarks.gpu_steps STEP FOLDER`.

`benchmarks.gpu_all` runs the steps one after the other. Each writes FOLDER/STEP.json after every value, so that a
failure loses only what was not measured yet. `--rehearse` runs a tiny shape on any machine.
"""

import argparse
import io
import json
import platform
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch

from benchmarks.backlog import Backlog
from benchmarks.full_size import write_random_weights
from benchmarks.gpu_bench import FULL, REHEARSAL, STEPS, Bench, Values, median_ms
from benchmarks.gpu_ceilings import measure_ceilings
from benchmarks.gpu_engine import measure_bf16, measure_quantized
from tests.support import processes
from worker.engines.device import device_name
from worker.engines.folder import inspect_folder


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
