"""KLEIN_BATCH=4 with the built-in model: waiting predictions form a batch, and each remains a prediction of its own."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import httpx
import pytest
import redis

from app.predictions.record_reader import decode
from app.predictions.redis_keys import record_key
from tests.support.api_client import create, decibels, events, get, ready_client, run, until
from tests.support.klein_server import Klein, running_klein
from worker.weights.locate import BUILT_IN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
NATIVE = {"width": 128, "height": 128}
LONG: dict[str, Any] = {"image_size": NATIVE, "num_inference_steps": 50, "num_images": 2}
"""Keeps the engine busy while other predictions queue."""
SHORT: dict[str, Any] = {"image_size": NATIVE, "num_inference_steps": 4}
SLOW: dict[str, Any] = {"image_size": NATIVE, "num_inference_steps": 40}
PROMPTS = (
    "a red circle on a blue background",
    "a green square on a white background",
    "a yellow circle on a black background",
    "a purple square on a gray background",
)


@pytest.fixture(scope="module")
def klein() -> Iterator[Klein]:
    with running_klein(BUILT_IN, KLEIN_BATCH="4") as running:
        yield running


@pytest.fixture
def client(klein: Klein) -> Iterator[httpx.Client]:
    with ready_client(klein.url, klein.key) as client:
        yield client


def record(klein: Klein, prediction_id: str) -> Any:
    path = str(klein.folder / "redis" / "redis.sock")
    with redis.Redis(unix_socket_path=path, decode_responses=True) as connection:
        raw = str(connection.get(record_key(prediction_id)))
        return asdict(decode(raw.encode(), prediction_id))


def wait_together(client: httpx.Client, klein: Klein, **inputs: Any) -> list[str]:
    """Queue four predictions behind a running one, and return their ids once all four run."""
    before = create(client, prompt="a red circle", **LONG)
    until(lambda: record(klein, before)["step"] > 0)
    ids = [create(client, prompt=prompt, seed=5, **inputs) for prompt in PROMPTS]
    client.post(f"/v1/prediction/{before}/cancel")
    return ids


def at_work(klein: Klein, ids: list[str]) -> bool:
    return all(record(klein, i)["step"] > 0 for i in ids)


def test_batch_gives_same_images_as_single_runs(klein: Klein, client: httpx.Client) -> None:
    """Four waiting predictions ran at the same time, and each has the image that its prompt gives alone."""
    alone = [run(client, prompt=prompt, seed=5, **SHORT)["output"] for prompt in PROMPTS]
    ids = wait_together(client, klein, **SHORT)
    ended = [get(client, i, wait=30) for i in ids]
    records = [record(klein, i) for i in ids]

    assert [prediction["status"] for prediction in ended] == ["success"] * 4
    assert max(r["started_at"] for r in records) < min(r["finished_at"] for r in records)
    for one, prediction in zip(alone, ended, strict=True):
        assert decibels(one, prediction["output"]) > 50
    assert decibels(ended[0]["output"], ended[1]["output"]) < 30


def test_cancel_ends_one_prediction_of_batch(klein: Klein, client: httpx.Client) -> None:
    """A cancelled prediction of a batch ends at once, and the other three succeed in the same attempt."""
    ids = wait_together(client, klein, **SLOW)
    until(lambda: at_work(klein, ids))
    client.post(f"/v1/prediction/{ids[1]}/cancel")
    amid = get(client, ids[0])["status"]
    ended = [get(client, i, wait=30)["status"] for i in ids]

    assert amid == "processing"
    assert ended == ["success", "cancelled", "success", "success"]
    assert [record(klein, i)["attempt"] for i in ids] == [1] * 4


def test_batch_sends_previews_per_prediction(klein: Klein, client: httpx.Client) -> None:
    """Each prediction of a batch that asks for previews gets its own, and no others."""
    ids = wait_together(client, klein, previews=True, **SLOW)
    with ThreadPoolExecutor(len(ids)) as followers:
        streams = list(followers.map(lambda i: list(events(client, i)), ids))
    outputs = [events[-1].data["output"] for events in streams]
    latest = [[e.data["image"] for e in events if e.name == "preview"][-1] for events in streams]
    records = [record(klein, i) for i in ids]

    assert max(r["started_at"] for r in records) < min(r["finished_at"] for r in records)
    for preview, output in zip(latest, outputs, strict=True):
        assert max(outputs, key=lambda other: decibels(preview, other)) == output


@pytest.mark.parametrize("part", ["engine", "worker"])
def test_engine_kill_during_batch_costs_one_attempt(
    klein: Klein, client: httpx.Client, part: str
) -> None:
    """After kill -9 during a batch all four predictions succeed in their second attempt."""
    ids = wait_together(client, klein, **SLOW)
    until(lambda: at_work(klein, ids))
    process = klein.part(part)
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    ended = [get(client, i, wait=60)["status"] for i in ids]

    assert ended == ["success"] * 4
    assert [record(klein, i)["attempt"] for i in ids] == [2] * 4
