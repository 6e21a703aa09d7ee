"""Measures the error of the estimated end under a mixed load, for one model and for two that are swapped.

`make bench-estimate` runs it on the built-in model and writes its table into docs/performance.md.
"""

import json
import os
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks.processes import KEY, listening
from benchmarks.report import write_section

REPORT = Path("docs/performance.md")
BUILT_IN = Path("worker/weights/builtin")
TEXT, BASE_TEXT = "flux-2-klein-4b-text-to-image", "flux-2-klein-4b-base-text-to-image"
SIDES = (128, 192, 256)
BURSTS = (1, 3, 6, 10)  # predictions at once
ROUNDS = 3  # of all bursts
FIRST = 20  # predictions that the estimate learns from
LONGEST_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A prediction of the load: what the create estimated, and how long it took."""

    expected_s: float
    took_s: float

    @property
    def error(self) -> float:
        """The error of the estimate, as a share of the time that it took."""
        return abs(self.expected_s - self.took_s) / self.took_s


class Load:
    """Sends mixed predictions in bursts."""

    def __init__(self, client: httpx.Client, slugs: Sequence[str]) -> None:
        self._client = client
        self._slugs = slugs
        self._chance = random.Random(0)  # noqa: S311 -- the same load each time

    def run(self, predictions: int) -> list[Ended]:
        """Create this many at once, and wait until all have ended."""
        created = [self._create() for _ in range(predictions)]
        return [
            Ended(expected_s=expected_s, took_s=self._await(prediction_id))
            for prediction_id, expected_s in created
        ]

    def _create(self) -> tuple[str, float]:
        side = self._chance.choice(SIDES)
        inputs = {
            "prompt": f"a red circle on a blue background {self._chance.random()}",
            "image_size": {"width": side, "height": side},
            "num_inference_steps": self._chance.randint(1, 8),
            "num_images": self._chance.randint(1, 3),
        }
        body = {"model": self._chance.choice(self._slugs), "input": inputs}
        response = self._client.post("/v1/prediction", json=body).raise_for_status()
        return response.json()["id"], float(response.headers.get("X-Expected-End", "nan"))

    def _await(self, prediction_id: str) -> float:
        """Return the seconds from the create to the end of a success."""
        deadline = time.monotonic() + LONGEST_S
        while time.monotonic() < deadline:
            url = f"/v1/prediction/{prediction_id}"
            shown: Any = self._client.get(url, params={"wait": 60}).json()
            if shown["status"] == "success":
                timeline: Any = self._client.get(f"{url}/timeline").json()
                return float(sum(stage["ms"] for stage in timeline["stages"]) / 1000)
            if shown["status"] not in {"created", "processing"}:
                raise RuntimeError(str(shown))
        raise RuntimeError(f"{prediction_id} did not end within {LONGEST_S:.0f} s")


def measure(weights: str, slugs: Sequence[str], **settings: str) -> list[Ended]:
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
        load.run(FIRST)
        return [ended for _ in range(ROUNDS) for burst in BURSTS for ended in load.run(burst)]


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
    """Measure and write the section."""
    quiet = {"KLEIN_CANARY_INTERVAL": "0", "KLEIN_MODEL_TURN": "30s"}
    with tempfile.TemporaryDirectory(prefix="klein-") as folder:
        both = f"{BUILT_IN},{make_base(Path(folder))}"
        rows = [
            row("one model", measure(str(BUILT_IN), [TEXT], **quiet)),
            row("two models, loaded together", measure(both, [TEXT, BASE_TEXT], **quiet)),
            row(
                "two models, swapped",
                measure(both, [TEXT, BASE_TEXT], KLEIN_MODEL_MEMORY_BYTES="1", **quiet),
            ),
        ]
    load = os.getloadavg()[0]
    write_section(
        REPORT,
        "Estimates",
        f"Measured by `make bench-estimate` on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, load {load:.1f}, with the built-in model and a "
        f"copy of it as a base checkpoint. After {FIRST} predictions, bursts of {', '.join(map(str, BURSTS))} were created at once, {ROUNDS} times, each "
        "when the one before had ended. Each had one to three images of 128, 192 or 256 pixels a side with one to eight steps, of a random model. The "
        "error is that of the expected end at the create, as a share of the time from create to end. Figures are the median (first to third "
        "quartile); the goal is a median of 15 %.\n\n"
        "| Load | predictions | time to the end | error |\n|---|---|---|---|\n" + "\n".join(rows),
    )


if __name__ == "__main__":
    main()
