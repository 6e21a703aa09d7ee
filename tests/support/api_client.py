"""Requests that the acceptance tests send: create, run, poll, download, and compare images."""

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import httpx
import numpy as np
from PIL import Image

TEXT = "flux-2-klein-4b-text-to-image"
EDIT = "flux-2-klein-4b-edit"
SMALL = {"width": 64, "height": 64}
LONG: dict[str, Any] = {"num_inference_steps": 50, "num_images": 4, "image_size": "square_hd"}
"""Takes a minute: steps of a quarter of a second."""

T = TypeVar("T")


def order(model: str = TEXT, **inputs: Any) -> dict[str, Any]:
    """Build a body for create and run. The image is small unless the inputs set a size."""
    return {"model": model, "input": {"prompt": "a red circle", "image_size": SMALL} | inputs}


def create(client: httpx.Client, model: str = TEXT, **inputs: Any) -> str:
    """Create a prediction and return its id."""
    answer = client.post("/v1/prediction", json=order(model, **inputs))
    assert answer.status_code == 200, answer.text
    return str(answer.json()["predictionID"])


def run(client: httpx.Client, model: str = TEXT, **inputs: Any) -> Any:
    """Run a prediction until it succeeds and return the response."""
    answer = client.post("/v1/prediction/run", json=order(model, **inputs)).json()
    assert answer["status"] == "success", answer
    return answer


def get(client: httpx.Client, prediction_id: str, wait: float = 0) -> Any:
    """Get a prediction, with a long poll of up to `wait` seconds."""
    return client.get(f"/v1/prediction/{prediction_id}", params={"wait": wait}).json()


def is_running(client: httpx.Client, prediction_id: str) -> bool:
    """Return whether a worker is running the prediction."""
    return bool(get(client, prediction_id)["status"] == "processing")


def ended(client: httpx.Client, prediction_id: str) -> str | None:
    """Return the final status, or None while it is not final or the server does not answer."""
    try:
        answer = client.get(f"/v1/prediction/{prediction_id}", params={"wait": 30})
    except httpx.TransportError:
        return None
    status = answer.json()["status"] if answer.status_code == 200 else None
    return status if status in {"success", "error", "cancelled"} else None


class Event(NamedTuple):
    name: str
    id: str
    data: Any


def events(client: httpx.Client, prediction_id: str, **headers: str) -> Generator[Event]:
    """Read the events of a prediction from its event stream until the stream ends."""
    path = f"/v1/prediction/{prediction_id}/events"
    with client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "event" in fields:
                yield Event(fields["event"], fields["id"], json.loads(fields["data"]))
                fields = {}


def fetch(url: str) -> bytes:
    """Download without a key, or decode a data URI."""
    if url.startswith("data:"):
        return base64.b64decode(url.partition(",")[2])
    answer = httpx.get(url, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.content


def pixels(url: str) -> "np.ndarray[Any, Any]":
    """Download an image and return its pixels."""
    with Image.open(io.BytesIO(fetch(url))) as image:
        return np.asarray(image.convert("RGB"), np.float64)


def decibels(one: str, other: str) -> float:
    """Return the peak signal-to-noise ratio of two images, in dB."""
    error = float(np.mean((pixels(one) - pixels(other)) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else float("inf")


def image_file(
    width: int = 64, height: int = 64, kind: str = "PNG", *, colour: str = "teal", **saving: Any
) -> bytes:
    """Create an image file."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, kind, **saving)
    return file.getvalue()


def data_uri(data: bytes) -> str:
    """Encode a file as a data URI."""
    return "data:image/png;base64," + base64.b64encode(data).decode()


def until(look: Callable[[], T | None], within_s: float = 30) -> T:
    """Call `look` until it returns something true, and return that."""
    deadline = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < deadline, "the condition did not become true in time"
        threading.Event().wait(0.02)
    return seen


def is_ready(client: httpx.Client) -> bool:
    """Return whether the api answers and a worker is ready."""
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def ready_client(url: str, key: str) -> Iterator[httpx.Client]:
    """Open a client once a worker is ready."""
    headers = {"X-API-Key": key}
    with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
        until(lambda: is_ready(client), within_s=60)
        yield client
