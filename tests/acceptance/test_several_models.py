"""Several models in one worker, as shipped processes with tiny weights, and memory for one of them at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.api_client import create, get, until
from tests.support.klein_server import Klein, running_klein

TEXT, BASE_TEXT = "flux-2-klein-4b-text-to-image", "flux-2-klein-4b-base-text-to-image"


@pytest.fixture(scope="module")
def klein(tiny_weights: Path, tiny_base_weights: Path) -> Iterator[Klein]:
    """One worker with a distilled and a base checkpoint, of which memory holds one."""
    with running_klein(
        f"{tiny_weights}, {tiny_base_weights}",
        KLEIN_MODEL_MEMORY_BYTES="1",
        KLEIN_CANARY_INTERVAL="0",
    ) as klein:
        yield klein


def workers(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """Return the entries of the worker by checkpoint."""
    return {w["checkpoint"]: w for w in client.get("/v1/status").json()["workers"]}


def loads(klein: Klein) -> int:
    """Count the loads of a model so far."""
    return sum("engine_ready" in line for line in klein.log)


def test_mixed_queue_is_run_by_model(klein: Klein, client: httpx.Client) -> None:
    """Both models are listed. Of six predictions in turns, all succeed, and the models are swapped less often than that."""
    until(lambda: len(workers(client)) > 1)
    entries = workers(client)
    slugs = {model["slug"] for model in client.get("/v1/models").json()}

    assert {TEXT, BASE_TEXT} <= slugs
    assert {kind: entry["state"] for kind, entry in entries.items()} == {
        "distilled": "ready",
        "base": "asleep",
    }
    assert entries["distilled"]["process"] == entries["base"]["process"]
    before = loads(klein)
    ids = [
        create(client, slug, num_inference_steps=1) for _ in range(3) for slug in (TEXT, BASE_TEXT)
    ]
    ended = [get(client, prediction_id, wait=60) for prediction_id in ids]

    assert {prediction["status"] for prediction in ended} == {"success"}
    assert 1 <= loads(klein) - before <= 3
