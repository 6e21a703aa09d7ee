"""Sends mixed predictions one after the other and measures the memory of worker and engine.

`make soak` runs it long and writes the curve into docs/performance.md. tests/acceptance/test_soak.py runs it briefly.
"""

import argparse
import random
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.backlog import REPORT
from benchmarks.report import write_section
from tests.support.api_client import EDIT, TEXT, create, data_uri, get, image_file
from tests.support.klein_server import Klein, running_klein
from tests.support.lora_files import write_lora
from tests.support.tiny_weights import make_tiny_weights

LORAS = 6
WATCHED = ("worker", "engine")
SIZES = (64, 128, 192, 256, 384)
SETTLED = 0.4  # the share of a run in which a process may still allocate what it needs
MAX_GROWTH = 1.1


@dataclass(slots=True)
class Curve:
    """The memory of one process at each measurement, in MB."""

    sizes_mb: list[float] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """Compare the last tenth with the maximum at the end of the settling phase."""
        settled = self.sizes_mb[: round(len(self.sizes_mb) * SETTLED)]
        last = self.sizes_mb[-max(1, len(self.sizes_mb) // 10) :]
        return sum(last) / len(last) / max(settled)


def soak(klein: Klein, requests: int, loras: Path) -> dict[str, Curve]:
    """Run that many predictions. Return the curve of each process. Raises AssertionError if one ends wrongly."""
    rng = random.Random(1)
    for number in range(LORAS):
        write_lora(loras / f"{number}.safetensors", seed=number)
    curves = {name: Curve() for name in WATCHED}
    parts = {name: klein.part(name) for name in WATCHED}
    with klein.client() as client:
        for number in range(requests):
            _ask(client, rng, number)
            if number % max(1, requests // 50) == 0:
                for name, part in parts.items():
                    assert part is not None
                    assert part.is_running(), f"the {name} was replaced after {number} predictions"
                    curves[name].sizes_mb.append(part.memory_info().rss / 2**20)
    return curves


def _ask(client: httpx.Client, rng: random.Random, number: int) -> None:
    size = {"width": rng.choice(SIZES), "height": rng.choice(SIZES)}
    inputs: dict[str, Any] = {"image_size": size, "prompt": f"a red circle {number}"}
    inputs["output_format"] = rng.choice(["png", "jpeg", "webp"])
    inputs["num_images"] = rng.choice([1, 1, 1, 2])
    model = TEXT
    if rng.random() < 0.3:
        model = EDIT
        images = [image_file(rng.choice(SIZES), 96) for _ in range(rng.randint(1, 3))]
        inputs["image_urls"] = [data_uri(image) for image in images]
    if rng.random() < 0.3:
        inputs["loras"] = [{"path": f"{rng.randrange(LORAS)}.safetensors"}]
    is_cancelled = number % 10 == 9
    if is_cancelled:
        inputs["num_inference_steps"] = 50
    prediction_id = create(client, model, **inputs)
    if is_cancelled:
        client.post(f"/v1/prediction/{prediction_id}/cancel")
    body = get(client, prediction_id, wait=60)
    assert body["status"] in ({"cancelled", "success"} if is_cancelled else {"success"}), body


def main() -> int:
    """Run the soak and write the section. The exit code says whether memory stayed flat."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500)
    requests = parser.parse_args().requests
    with tempfile.TemporaryDirectory() as folder:
        loras = Path(folder) / "loras"
        loras.mkdir()
        weights = make_tiny_weights(Path(folder) / "weights")
        with running_klein(weights, KLEIN_LORAS=str(loras)) as klein:
            curves = soak(klein, requests, loras)
    rows = [
        f"| {name} | "
        + " | ".join(f"{mb:.0f}" for mb in _tenths(curve))
        + f" | {curve.growth:.2f} |"
        for name, curve in curves.items()
    ]
    write_section(
        REPORT,
        "Memory",
        f"Measured by `make soak` on {datetime.now(UTC):%Y-%m-%d}: {requests} predictions one after the other on a tiny "
        "checkpoint, with mixed sizes, formats, reference images and LoRAs. Every tenth was cancelled. The table shows resident memory in MB "
        f"over the run. Growth compares the last tenth with the peak of the first {SETTLED:.0%} (target {MAX_GROWTH}).\n\n"
        "| Process | start | 20 % | 40 % | 60 % | 80 % | end | growth |\n|---|---|---|---|---|---|---|---|\n"
        + "\n".join(rows),
    )
    print("\n".join(rows))  # noqa: T201 -- a command-line tool
    return 0 if all(curve.growth <= MAX_GROWTH for curve in curves.values()) else 1


def _tenths(curve: Curve) -> list[float]:
    last = len(curve.sizes_mb) - 1
    return [curve.sizes_mb[round(part / 5 * last)] for part in range(6)]


if __name__ == "__main__":
    sys.exit(main())
