"""Cancelling: a waiting prediction never runs, and a running one stops at its next step."""

import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import httpx
import pytest
import redis

from app.predictions.record_reader import decode
from app.predictions.redis_keys import record_key
from tests.support.api_client import LONG, create, get, run, until
from tests.support.klein_server import Klein


class Inside:
    """The running system's Redis, read directly."""

    def __init__(self, connection: "redis.Redis") -> None:
        self._redis = connection

    def record(self, prediction_id: str) -> Any:
        raw = str(self._redis.get(record_key(prediction_id)))
        return asdict(decode(raw.encode(), prediction_id))

    def queued(self) -> list[str]:
        """List the ids of the predictions that wait in line, each of which has a token."""
        waiting: Any = self._redis.zrange("klein:waiting:distilled", 0, -1)
        assert self._redis.llen("rq:queue:klein-distilled") == len(waiting)
        return list(waiting)


@pytest.fixture
def inside(klein: Klein) -> Iterator[Inside]:
    path = str(klein.folder / "redis" / "redis.sock")
    with redis.Redis(unix_socket_path=path, decode_responses=True) as connection:
        yield Inside(connection)


def test_cancel_of_queued_prediction(client: httpx.Client, busy: str, inside: Inside) -> None:
    """Cancel removes a waiting prediction from the queue, and it never starts."""
    waiting = create(client)
    queued = inside.queued()

    answer = client.post(f"/v1/prediction/{waiting}/cancel")

    assert waiting in queued
    assert waiting not in inside.queued()
    assert answer.json() == {
        "status": "success",
        "message": "Prediction canceled successfully",
        "predictionID": waiting,
        "id": waiting,
    }
    client.post(f"/v1/prediction/{busy}/cancel")
    run(client)  # everything before it in the queue has ended now
    prediction = get(client, waiting)
    assert (prediction["status"], prediction["output"]) == ("cancelled", None)
    assert prediction["metrics"] == {"predict_time": 0, "cost": 0}
    assert inside.record(waiting)["attempt"] == 0


def test_cancel_of_running_prediction(client: httpx.Client, inside: Inside) -> None:
    """Cancel ends a running prediction at once, and the worker is free before the run would have finished."""
    running = create(client, **LONG)
    first = until(lambda: inside.record(running)["step"])
    began = time.monotonic()
    later = until(lambda: (step := inside.record(running)["step"]) > first and step)
    step_s = (time.monotonic() - began) / (later - first)

    cancelled_at = time.monotonic()
    client.post(f"/v1/prediction/{running}/cancel")
    prediction = get(client, running)
    run(client)
    free_after_s = time.monotonic() - cancelled_at

    assert (prediction["status"], prediction["output"]) == ("cancelled", None)
    steps = LONG["num_inference_steps"] * LONG["num_images"]
    assert free_after_s < step_s * (steps - later)


def test_progress_is_recorded(client: httpx.Client, busy: str, inside: Inside) -> None:
    """The record of a running prediction counts its denoising steps."""
    first = until(lambda: inside.record(busy)["step"])
    later = until(lambda: inside.record(busy)["step"] > first)

    assert later
    assert inside.record(busy)["steps"] == 200


def test_second_cancel_is_conflict(client: httpx.Client, busy: str) -> None:
    """A second cancel is a 409 that names the state."""
    client.post(f"/v1/prediction/{busy}/cancel")

    again = client.post(f"/v1/prediction/{busy}/cancel")

    assert again.status_code == 409
    assert "cancelled" in again.json()["details"]


def test_cancelled_run_returns_200(client: httpx.Client, klein: Klein) -> None:
    """A run whose prediction is cancelled by another request answers 200 with cancelled."""
    with klein.client() as other:
        answers: list[Any] = []
        body = {"model": "flux-2-klein-4b-text-to-image", "input": {"prompt": "a"} | LONG}
        runner = threading.Thread(
            target=lambda: answers.append(other.post("/v1/prediction/run", json=body))
        )
        runner.start()
        newest = until(
            lambda: [
                line["id"]
                for line in client.get("/v1/executions?limit=1").json()["executions"]
                if line["status"] == "processing"
            ]
        )[0]
        client.post(f"/v1/prediction/{newest}/cancel")
        runner.join(60)

    assert answers[0].status_code == 200
    assert answers[0].json() == {
        "status": "cancelled",
        "message": "Prediction was cancelled",
        "predictionID": newest,
        "output": None,
        "error": "",
    }
