"""Measures the error of the estimated end under a mixed load, for one model and for two that are swapped.

`make bench-estimate` runs it on the built-in model and writes its table into docs/performance.md. With `--log FILE` it
appends what was estimated and what each prediction took, stage by stage, as JSON lines.
"""

import argparse
import base64
import io
import json
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from benchmarks.processes import KEY, listening
from benchmarks.report import write_section

REPORT = Path("docs/performance.md")
BUILT_IN = Path("worker/weights/builtin")
TEXT, BASE_TEXT = "flux-2-klein-4b-text-to-image", "flux-2-klein-4b-base-text-to-image"
SIDES = (128, 192, 256, 512)
REFERENCES = (0, 0, 1, 2)  # half of the predictions are edits
REFERENCE_SIZES = ((128, 128), (256, 192), (400, 400))
BURSTS = (1, 3, 6, 10)  # predictions at once
ROUNDS = 3  # of all bursts
FIRST = 20  # predictions of each model that the estimate learns from
LONGEST_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A prediction of the load: what the create estimated, and how long each stage took."""

    model: str
    inputs: dict[str, Any]
    created_at: float  # unix seconds, of this process
    expected_wait_s: float
    expected_end_s: float
    stages_ms: dict[str, int]

    @property
    def took_s(self) -> float:
        """The seconds from the create to the end."""
        return sum(self.stages_ms.values()) / 1000

    @property
    def error(self) -> float:
        """The error of the estimate, as a share of the time that it took."""
        return abs(self.expected_end_s - self.took_s) / self.took_s


class Load:
    """Sends mixed predictions in bursts."""

    def __init__(self, client: httpx.Client, slugs: Sequence[str]) -> None:
        self._client = client
        self._slugs = slugs
        self._chance = random.Random(0)  # noqa: S311 -- the same load each time
        self._references = [_reference(size) for size in REFERENCE_SIZES]

    def run(self, predictions: int) -> list[Ended]:
        """Create this many at once, and wait until all have ended."""
        created = [self._create() for _ in range(predictions)]
        return [
            Ended(**values, stages_ms=self._await(prediction_id))
            for prediction_id, values in created
        ]

    def _create(self) -> tuple[str, dict[str, Any]]:
        chance, side = self._chance, self._chance.choice(SIDES)
        slug = chance.choice(self._slugs)
        inputs: dict[str, Any] = {
            "prompt": f"a red circle on a blue background {chance.random()}",
            "num_inference_steps": chance.randint(1, 8),
            "num_images": chance.randint(1, 3),
            "image_size": {"width": side, "height": side},
        }
        images = [chance.choice(self._references) for _ in range(chance.choice(REFERENCES))]
        if images:
            slug = slug.replace("text-to-image", "edit")
            if chance.random() < 1 / 2:
                del inputs["image_size"]  # it takes that of the first reference image
        created_at = time.time()
        body = {"model": slug, "input": inputs | ({"image_urls": images} if images else {})}
        response = self._client.post("/v1/prediction", json=body).raise_for_status()
        return response.json()["id"], {
            "model": slug,
            "inputs": inputs | {"references": len(images)},
            "created_at": created_at,
            "expected_wait_s": float(response.headers.get("X-Expected-Wait", "nan")),
            "expected_end_s": float(response.headers.get("X-Expected-End", "nan")),
        }

    def _await(self, prediction_id: str) -> dict[str, int]:
        """Return the milliseconds of each stage of a success."""
        deadline = time.monotonic() + LONGEST_S
        while time.monotonic() < deadline:
            url = f"/v1/prediction/{prediction_id}"
            shown: Any = self._client.get(url, params={"wait": 60}).json()
            if shown["status"] == "success":
                timeline: Any = self._client.get(f"{url}/timeline").json()
                return {stage["stage"]: stage["ms"] for stage in timeline["stages"]}
            if shown["status"] not in {"created", "processing"}:
                raise RuntimeError(str(shown))
        raise RuntimeError(f"{prediction_id} did not end within {LONGEST_S:.0f} s")


def _reference(size: tuple[int, int]) -> str:
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def measure(rounds: int, weights: str, slugs: Sequence[str], **settings: str) -> list[Ended]:
    """Run the load on a system of its own."""
    with (
        listening("up", KLEIN_WEIGHTS=weights, **settings) as (port, _),
        httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"X-API-Key": KEY},
            timeout=90,
            trust_env=False,
        ) as client,
    ):
        while not all(client.get(f"/v1/models/{slug}").is_success for slug in slugs):
            time.sleep(0.5)
        while not client.get("/readyz").is_success:
            time.sleep(0.5)
        load = Load(client, slugs)
        load.run(FIRST * len(slugs))
        return [ended for _ in range(rounds) for burst in BURSTS for ended in load.run(burst)]


def make_base(folder: Path) -> Path:
    """Copy the built-in model as a base checkpoint, which generates each step twice."""
    base = Path(shutil.copytree(BUILT_IN, folder / "base"))
    index = json.loads((base / "model_index.json").read_text())
    (base / "model_index.json").write_text(json.dumps(index | {"is_distilled": False}))
    return base


def row(name: str, ended: Sequence[Ended]) -> str:
    """Format one row of the table."""
    errors = statistics.quantiles([one.error * 100 for one in ended], n=4)
    took = statistics.quantiles([one.took_s for one in ended], n=4)
    cells = (
        name,
        str(len(ended)),
        f"{took[1]:.1f} s ({took[0]:.1f} to {took[2]:.1f})",
        f"{errors[1]:.0f} % ({errors[0]:.0f} to {errors[2]:.0f})",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and write the section, or print the table with `--short`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="measure one round and print it")
    parser.add_argument("--log", type=Path, help="append each prediction to this file")
    arguments = parser.parse_args()
    rounds = 1 if arguments.short else ROUNDS
    quiet = {"KLEIN_CANARY_INTERVAL": "0", "KLEIN_MODEL_TURN": "30s"}
    swapped = quiet | {"KLEIN_MODEL_MEMORY_BYTES": "1"}
    rows = []
    with tempfile.TemporaryDirectory(prefix="klein-") as folder:
        both = f"{BUILT_IN},{make_base(Path(folder))}"
        for name, weights, slugs, settings in (
            ("one model", str(BUILT_IN), [TEXT], quiet),
            ("two models, loaded together", both, [TEXT, BASE_TEXT], quiet),
            ("two models, swapped", both, [TEXT, BASE_TEXT], swapped),
        ):
            ended = measure(rounds, weights, slugs, **settings)
            rows.append(row(name, ended))
            if arguments.log:
                with arguments.log.open("a") as file:
                    file.writelines(
                        f"{json.dumps(asdict(one) | {'load': name})}\n" for one in ended
                    )
    if arguments.short:
        print("\n".join(rows))
        return
    load = os.getloadavg()[0]
    write_section(
        REPORT,
        "Estimates",
        f"Measured by `make bench-estimate` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, load {load:.1f}, with the built-in model and a "
        f"copy of it as a base checkpoint. After {FIRST} predictions of each model, bursts of {', '.join(map(str, BURSTS))} were created at once, {ROUNDS} "
        f"times, each when the one before had ended. Each had one to three images of {', '.join(map(str, SIDES))} pixels a side with one to eight steps, of a "
        "random model. Half of them were edits of one or two images, and half of those took their size from the first image. The error is that of the "
        "`X-Expected-End` of the create, as a share of the time from create to end. Figures are the median (first to third quartile). The goal is a "
        "median of 15 %.\n\n"
        "| Load | predictions | time to the end | error |\n|---|---|---|---|\n" + "\n".join(rows),
    )


if __name__ == "__main__":
    main()
