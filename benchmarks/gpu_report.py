"""Renders the section "On a GPU" of docs/performance.md from the results of `benchmarks.gpu_all`.

`python -m benchmarks.gpu_report` writes it again. What was not measured says so.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.report import write_section

REPORT = Path("docs/performance.md")
RESULTS = Path("benchmarks/gpu.json")
TITLE = "On a GPU"
# Teraflop of one image with 4 steps: transformer, text encoder and decoder (1 multiply-add = 2 flop).
TERAFLOP = {512: 40.7 + 2.91 + 2.5, 1024: 139.3 + 2.91 + 10.5}
EDIT_TERAFLOP = 306.8 + 2.91 + 10.5 + 4.9  # one reference, both at 1024x1024
NOT_MEASURED = "not measured"
_REHEARSAL_SIDES = {512: 64, 1024: 128, 2048: 192}

ABOUT = (
    "`make bench-gpu` measures this table in about eight minutes on a machine with one GPU, and writes it. It builds the shape of the "
    "4B checkpoint with random weights on the device, so it needs no download. Each step has a time limit and saves its values as it "
    "measures them. Without internet access, `make gpu-wheels` on another machine collects the packages into `.wheels`, and "
    "`pip install --no-index --no-deps .wheels/*` installs them beside a CUDA build of torch.\n\n"
    "Limits are the arithmetic of an image (`benchmarks/gpu_report.py`) divided by what the device sustains in matrix products "
    "for three seconds. Times are in milliseconds: median (first to third quartile)."
)


def write_report() -> None:
    """Write the section from the results file, or with nothing measured if there is none."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"steps": {}}
    write_section(REPORT, TITLE, render(results))


def render(results: dict[str, Any]) -> str:
    """Return the section."""
    rows = "\n".join(f"| {what} | {value} |" for what, value in _rows(results))
    return f"{ABOUT}\n\n| What | Result |\n|---|---|\n{rows}\n"


def _rows(results: dict[str, Any]) -> list[tuple[str, str]]:
    table = _Table(results)
    rows = [
        ("device", table.device()),
        ("bf16 and fp8 matrix products, sustained", table.ceilings()),
    ]
    for side in (1024, 512):
        limit = table.limit_ms(TERAFLOP[side])
        rows += [
            (
                f"4B bf16, {side}x{side}, 4 steps: eager `Flux2KleinPipeline`",
                table.time("diffusers", "image", side),
            ),
            (
                f"4B bf16, {side}x{side}, 4 steps: engine, against its limit",
                table.time("bf16", "image", side, limit_ms=limit),
            ),
            (
                f"4B fp8, {side}x{side}, 4 steps: engine, against bf16",
                table.time("quantized", "image", side, faster_than="bf16"),
            ),
            (f"four at once, bf16, {side}x{side}, per image", table.batch("bf16", side)),
        ]
    rows += [
        (
            "4B edit with one reference at 1024x1024, bf16, against its limit",
            table.time("bf16", "edit", 1024, limit_ms=table.limit_ms(EDIT_TERAFLOP)),
        ),
        ("text encoder, a new prompt", table.time("bf16", "encode_prompt")),
        ("decoder, 1024x1024", table.time("bf16", "decode", 1024)),
        ("fp8 against bf16, PSNR", table.value("quantized", "psnr_db", "{:.1f} dB")),
        ("peak memory at 1 megapixel, bf16 and fp8", table.peaks(1024)),
        ("peak memory at 4 megapixels, bf16 and fp8", table.peaks(2048)),
        ("start with an empty cache, bf16 and then fp8", table.starts()),
        ("backlog of 50 through HTTP, 1024x1024", table.backlog()),
        (
            "GPU busy meanwhile (target 97 %)",
            table.value("backlog", "gpu_busy_percent", "{:.1f} %"),
        ),
        ("`pytest -m gpu tests/gpu`", table.tests()),
    ]
    return rows


class _Table:
    """Reads values of the results. What is missing is `not measured`, with the reason if there is one."""

    def __init__(self, results: dict[str, Any]) -> None:
        self._steps = results["steps"]
        self._sides = _REHEARSAL_SIDES if results.get("is_rehearsal") else {}
        self._measured_at = results.get("measured_at", "")

    def get(self, step: str, name: str) -> Any:
        return self._steps.get(step, {}).get("values", {}).get(name)

    def missing(self, step: str) -> str:
        error = self._steps.get(step, {}).get("error")
        return f"{NOT_MEASURED}: {_in_one_cell(error)}" if error else NOT_MEASURED

    def value(self, step: str, name: str, form: str) -> str:
        value = self.get(step, name)
        return self.missing(step) if value is None else form.format(value)

    def named(self, name: str, side: int | None) -> str:
        return name if side is None else f"{name}_{self._sides.get(side, side)}"

    def time(
        self,
        step: str,
        name: str,
        side: int | None = None,
        *,
        limit_ms: float | None = None,
        faster_than: str | None = None,
    ) -> str:
        times = self.get(step, self.named(name, side))
        if times is None:
            return self.missing(step)
        text = f"{times['median_ms']:.1f} ({times['low_ms']:.1f} to {times['high_ms']:.1f})"
        if limit_ms is not None:
            text += f", {times['median_ms'] / limit_ms:.2f} x the limit of {limit_ms:.1f}"
        other = faster_than and self.get(faster_than, self.named(name, side))
        if other:
            text += f", {other['median_ms'] / times['median_ms']:.2f} x as fast"
        return text

    def limit_ms(self, teraflop: float) -> float | None:
        tflops = self.get("ceilings", "bf16_tflops")
        return None if tflops is None else teraflop / tflops * 1000

    def device(self) -> str:
        if (name := self.get("weights", "device")) is None:
            return self.missing("weights")
        versions = (
            f"torch {self.get('weights', 'torch')}, diffusers {self.get('weights', 'diffusers')}"
        )
        return f"{name}, {versions}, {self._measured_at}"

    def ceilings(self) -> str:
        bf16 = self.value("ceilings", "bf16_tflops", "{:.0f} TF/s")
        return f"{bf16}, {self.value('ceilings', 'fp8_tflops', '{:.0f} TF/s')}"

    def batch(self, step: str, side: int) -> str:
        name = self.named("batch", side)
        times, count = self.get(step, name), self.get(step, "batch")
        alone = self.get(step, self.named("image", side))
        if times is None or alone is None:
            return self.missing(step)
        each = times["median_ms"] / count
        return (
            f"{each:.1f} in a batch of {count}, {alone['median_ms'] / each:.2f} x as fast as alone"
        )

    def peaks(self, side: int) -> str:
        name = self.named("peak_gb", side)
        return ", ".join(self.value(step, name, "{:.1f} GB") for step in ("bf16", "quantized"))

    def starts(self) -> str:
        return ", ".join(self.value(step, "start_s", "{:.0f} s") for step in ("bf16", "quantized"))

    def backlog(self) -> str:
        rate = self.get("backlog", "images_per_s")
        if rate is None:
            return self.missing("backlog")
        text = f"{rate:.2f} images/s"
        if alone := self.get("bf16", self.named("image", 1024)):
            text += f", {rate * alone['median_ms'] / 1000:.2f} of the engine alone"
        return text

    def tests(self) -> str:
        outcomes = self.get("tests", "outcomes")
        if not outcomes:
            return self.missing("tests")
        text = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        error = self._steps["tests"].get("error")
        return f"{text} ({_in_one_cell(error)})" if error else text


def _in_one_cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")[:200]


if __name__ == "__main__":
    write_report()
