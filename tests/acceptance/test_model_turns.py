"""The turns of two models in one worker, as shipped processes with a fake engine: nobody starves, and operators choose the model."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.chaos.system import System, running_system
from tests.support import processes
from tests.support.api_client import TEXT, create, get, is_ready, is_running, ready_client, until

BASE_TEXT = "flux-2-klein-4b-base-text-to-image"
pytestmark = pytest.mark.slow  # a system of its own; tests/unit/test_model_turns.py has the rules
KEY = "a-key-of-more-than-thirty-two-characters"


@pytest.fixture(scope="module")
def system(tiny_weights: Path, tiny_base_weights: Path) -> Iterator[System]:
    """One worker with two models, memory for one, and no turn that delays the other one."""
    settings = {
        "KLEIN_WEIGHTS": f"{tiny_weights},{tiny_base_weights}",
        "KLEIN_MODEL_TURN": "0",
        "KLEIN_CANARY_INTERVAL": "0",
    }
    with running_system(workers=1, keys=[KEY], batch=1, settings=settings) as system:
        yield system


@pytest.fixture
def client(system: System) -> Iterator[httpx.Client]:
    with ready_client(system.url, KEY) as client:
        yield client


def entries(client: httpx.Client) -> dict[str, Any]:
    """Return the entries of the worker by checkpoint."""
    return {w["checkpoint"]: w for w in client.get("/v1/status").json()["workers"]}


def test_busy_model_does_not_starve_other_one(system: System, client: httpx.Client) -> None:
    """A prediction of a model that is not loaded ends before the last of the many that came earlier for the loaded one."""
    many = [create(client, prompt="slow", num_inference_steps=30) for _ in range(8)]
    until(lambda: is_running(client, many[0]))
    other = create(client, BASE_TEXT)
    ended = [get(client, prediction_id, wait=60) for prediction_id in (*many, other)]

    assert {prediction["status"] for prediction in ended} == {"success"}
    ends = [system.record(prediction_id).finished_at for prediction_id in (many[-1], other)]
    assert ends[1] < ends[0]  # type: ignore[operator]  # both have ended


def command(system: System, *arguments: str) -> list[str]:
    """Run a `klein` command beside the system and return its lines."""
    completed = processes.run(
        [sys.executable, "-P", "-m", "app.cli", *arguments],
        env=system.environ,
        check=True,
    )
    return str(completed.stdout).splitlines()


def test_commands_show_and_load_models(system: System, client: httpx.Client) -> None:
    """`klein queue` shows one worker with both models. `klein load` of one swaps them, and without a name it leaves the loaded one."""
    get(client, create(client), wait=60)
    until(lambda: entries(client)["base"]["state"] == "asleep")
    shown = command(system, "queue")
    name = entries(client)["base"]["name"]
    loaded = command(system, "load", name)

    assert any(line.split() == ["workers", "1"] for line in shown)
    assert any(name in line and line.endswith("asleep") for line in shown)
    assert loaded == command(system, "load") == [f"{name}   ready"]
    assert entries(client)["distilled"]["state"] == "asleep"
    assert client.get("/metrics").text.count("klein_workers_ready 1.0") == 1


def test_turn_keeps_predictions_of_a_model_together(system: System, client: httpx.Client) -> None:
    """With turns that are longer than the work, predictions that come in turns for both models cost one swap, or two if the first model has more."""
    system.workers.pop().stop()
    system.add_workers(1, KLEIN_MODEL_TURN="10m")
    (worker,) = system.workers

    def loads() -> int:
        return sum("engine_ready" in line for line in worker.tail)

    until(lambda: loads() == 2 and is_ready(client))
    slugs = [TEXT, BASE_TEXT] * 3
    ids = [create(client, slug, prompt="slow", num_inference_steps=30) for slug in slugs]
    ended = [get(client, prediction_id, wait=60) for prediction_id in ids]

    assert {prediction["status"] for prediction in ended} == {"success"}
    assert loads() - 2 <= 2
