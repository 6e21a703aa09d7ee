"""The report of the GPU benchmark: what was not measured says so, and why."""

import json
from pathlib import Path

from benchmarks.gpu_report import RESULTS, TITLE, render

ROOT = Path(__file__).parents[2]


def test_documented_section_is_that_of_results() -> None:
    """docs/performance.md has the section that the committed results render to."""
    file = ROOT / RESULTS
    results = json.loads(file.read_text()) if file.exists() else {"steps": {}}

    assert f"## {TITLE}\n\n{render(results)}" in (ROOT / "docs/performance.md").read_text()


def test_values_are_compared_with_limit_and_bf16() -> None:
    """A time is shown against the limit of the measured matrix products, and fp8 against bf16."""
    times = {"median_ms": 400.0, "low_ms": 390.0, "high_ms": 410.0}
    results = {
        "steps": {
            "ceilings": {"values": {"bf16_tflops": 763.55}},
            "bf16": {"values": {"image_1024": times}},
            "quantized": {"values": {"image_1024": {**times, "median_ms": 320.0}}},
        }
    }
    text = render(results)

    assert "| 400.0 (390.0 to 410.0), 2.00 x the limit of 200.0 |" in text
    assert "| 320.0 (390.0 to 410.0), 1.25 x as fast |" in text


def test_failed_step_says_why() -> None:
    """A step that failed shows its reason in the rows that it did not measure, and keeps those that it did."""
    results = {
        "steps": {
            "bf16": {
                "values": {"peak_gb_1024": 17.25},
                "error": "not finished after 170 s | and\nmore",
            }
        }
    }
    text = render(results)

    assert "| decoder, 1024x1024 | not measured: not finished after 170 s / and more |" in text
    assert "| peak memory at 1 megapixel, bf16 and fp8 | 17.2 GB, not measured |" in text
