"""Compares the engine with `Flux2KleinPipeline` called from a script.

`make bench-engine` runs it and writes docs/performance.md. The two alternate, so that other load slows both. Each ratio
is the median of the ratios of the pairs.
"""

import argparse
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import Flux2KleinPipeline

from benchmarks.report import write_head
from worker.engines import Order, open_engine
from worker.engines.folder import inspect_folder
from worker.engines.prompt_encoder import PromptEncoder, truncate_text_encoder

REPORT = Path("docs/performance.md")
BUILT_IN = Path("worker/weights/builtin")
PROMPT = "a red circle on a blue background"
STEPS = 4
PAIRS = 30


def compare(
    baseline: Callable[[], object], ours: Callable[[], object], pairs: int
) -> tuple[list[float], list[float]]:
    """Time both alternately, in milliseconds. Each goes first in half of the pairs."""
    times: dict[Callable[[], object], list[float]] = {baseline: [], ours: []}
    for call in (baseline, ours):
        call()
    for pair in range(pairs):
        for call in (baseline, ours) if pair % 2 else (ours, baseline):
            started = time.perf_counter()
            call()
            times[call].append((time.perf_counter() - started) * 1000)
    return times[baseline], times[ours]


def row(what: str, baseline: list[float], ours: list[float]) -> str:
    """Format one row of the table: both medians with quartiles, and the median ratio."""
    ratio = statistics.median(b / o for b, o in zip(baseline, ours, strict=True))
    return f"| {what} | {shown(baseline)} | {shown(ours)} | {ratio:.2f} |"


def shown(times: list[float]) -> str:
    """Format the median with the first and third quartile."""
    low, middle, high = statistics.quantiles(times, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def measure(weights: Path, pairs: int) -> list[str]:
    """Return the rows for one checkpoint on this processor."""
    folder = inspect_folder(weights)
    manifest = folder.manifest
    side = manifest.native_size
    pipeline: Any = Flux2KleinPipeline  # diffusers has no types
    script = pipeline.from_pretrained(weights, local_files_only=True, dtype=torch.float32)
    script.set_progress_bar_config(disable=True)
    text = {
        "max_sequence_length": manifest.max_sequence_length,
        "text_encoder_out_layers": manifest.text_encoder_out_layers,
    }
    engine = open_engine(weights)

    def call_script() -> None:
        script(
            prompt=PROMPT,
            width=side,
            height=side,
            num_inference_steps=STEPS,
            guidance_scale=1.0,
            generator=torch.Generator("cpu").manual_seed(7),
            **text,
        )

    def call_engine(prompt: str = PROMPT) -> None:
        order = Order(prompt=prompt, width=side, height=side, steps=STEPS, guidance=1.0, seeds=(7,))
        engine.generate(order, lambda _k, _n: None)

    fresh = (f"{PROMPT} {k}" for k in range(pairs + 1))
    size = f"{side}x{side}, {STEPS} steps"
    rows = [
        row(
            f"{size}: a new prompt", *compare(call_script, lambda: call_engine(next(fresh)), pairs)
        ),
        row(f"{size}: a repeated prompt", *compare(call_script, call_engine, pairs)),
    ]
    cut = pipeline.from_pretrained(weights, local_files_only=True, dtype=torch.float32)
    truncate_text_encoder(cut, max(manifest.text_encoder_out_layers))
    encoder = PromptEncoder(cut, manifest)

    def encode(pipe: Any) -> None:
        pipe.encode_prompt(prompt=PROMPT, **text)

    with torch.inference_mode():
        rows += [
            row(
                "text encoder without unused layers",
                *compare(lambda: encode(script), lambda: encode(cut), pairs),
            ),
            row(
                "text encoder, repeated prompt",
                *compare(lambda: encode(script), lambda: encoder.encode(PROMPT), pairs),
            ),
        ]
    return rows


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=BUILT_IN)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # steadier when other processes use the cores
    diffusers.utils.logging.disable_progress_bar()
    rows = measure(arguments.weights, arguments.pairs)
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    about = (
        f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, one thread, "
        f"torch {torch.__version__}, diffusers {diffusers.__version__}"
    )
    load = os.getloadavg()[0]
    write_head(
        REPORT,
        "# Performance\n\n"
        f"Measured by `make bench-engine` on {datetime.now(UTC):%Y-%m-%d}: {about}, load {load:.1f}. "
        f"The weights were {arguments.weights} in float32. The two sides alternated {arguments.pairs} times.\n\n"
        "Times are in milliseconds: median (first to third quartile). The last column is the median of the ratios. "
        "The baseline is `Flux2KleinPipeline` called from a script. Neither side writes an image file.\n\n"
        "| What | diffusers | engine | times faster |\n|---|---|---|---|\n" + "\n".join(rows),
    )
    print("\n".join(rows))
    print(f"wrote {REPORT}")


if __name__ == "__main__":
    main()
