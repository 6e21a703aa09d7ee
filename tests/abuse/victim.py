"""The victim: a caller with a key of its own that creates, polls and receives webhooks, and measures how long that takes."""

import statistics
import threading
import time
from dataclasses import dataclass, field

import httpx

from tests.support.api_client import order
from tests.support.webhook_receiver import Receiver

END_S = 120
FINAL = {"success", "error", "cancelled"}
STEPS = ("create", "poll", "end", "webhook")
CREATE_EVERY_S = 0.05
POLL_EVERY_S = 0.05


@dataclass
class Measured:
    """How long each step took, in seconds, and what was lost."""

    steps: dict[str, list[float]] = field(default_factory=lambda: {step: [] for step in STEPS})
    lost: list[str] = field(default_factory=list)

    def percentile_s(self, step: str, percent: int) -> float:
        """Return a percentile of a step, or the highest value if there are few."""
        values = sorted(self.steps[step])
        if len(values) < 2:
            return values[0] if values else float("nan")
        return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


class Victim:
    """Lives through one prediction after the other, and beside that creates and cancels some, for more samples of requests."""

    def __init__(self, url: str, key: str, receiver: Receiver) -> None:
        self._url = url
        self._key = key
        self._receiver = receiver

    def measure(self, measured: Measured, seconds: float) -> None:
        """Measure for so long, and until the last prediction and its webhook have come."""
        ends = time.monotonic() + seconds
        thread = threading.Thread(target=self._repeat_creates, args=(measured, ends))
        thread.start()
        try:
            with self._client() as client:
                number = 0
                while number == 0 or time.monotonic() < ends:
                    number += 1
                    try:
                        self._live(client, measured, number)
                    except httpx.HTTPError as exc:
                        measured.lost.append(f"request {number}: {exc!r}")
        finally:
            thread.join()

    def _client(self) -> httpx.Client:
        headers = {"X-API-Key": self._key}
        return httpx.Client(base_url=self._url, headers=headers, timeout=END_S, trust_env=False)

    def _repeat_creates(self, measured: Measured, ends: float) -> None:
        """Create, read and cancel a prediction again and again."""
        with self._client() as client:
            while time.monotonic() < ends:
                began = time.monotonic()
                try:
                    created = _create(client, measured, order())
                    if created is not None:
                        _poll(client, measured, created)
                        client.post(f"/v1/prediction/{created}/cancel")
                except httpx.HTTPError as exc:
                    measured.lost.append(f"create: {exc!r}")
                threading.Event().wait(max(0.0, began + CREATE_EVERY_S - time.monotonic()))

    def _live(self, client: httpx.Client, measured: Measured, number: int) -> None:
        """Live through one prediction."""
        name = f"{time.monotonic_ns()}"
        began = time.monotonic()
        created = _create(
            client, measured, order() | {"webhook_url": f"{self._receiver.url}/{name}"}
        )
        if created is None:
            threading.Event().wait(0.1)
            return
        while (status := _poll(client, measured, created)) not in FINAL:
            if time.monotonic() - began > END_S:
                measured.lost.append(f"prediction {number}: not final after {END_S} s")
                return
            threading.Event().wait(POLL_EVERY_S)
        ended = time.monotonic()
        measured.steps["end"].append(ended - began)
        if status != "success":
            measured.lost.append(f"prediction {number}: {status}")
        while not any(call.path.endswith(name) for call in list(self._receiver.calls)):
            if time.monotonic() - ended > END_S:
                measured.lost.append(f"webhook {number}: not delivered after {END_S} s")
                return
            threading.Event().wait(0.01)
        measured.steps["webhook"].append(time.monotonic() - ended)


def _create(client: httpx.Client, measured: Measured, body: object) -> str | None:
    began = time.monotonic()
    created = client.post("/v1/prediction", json=body)
    measured.steps["create"].append(time.monotonic() - began)
    if created.status_code != httpx.codes.OK:
        measured.lost.append(f"create: {created.status_code} {created.text}")
        return None
    return str(created.json()["predictionID"])


def _poll(client: httpx.Client, measured: Measured, prediction_id: str) -> str:
    began = time.monotonic()
    status = str(client.get(f"/v1/prediction/{prediction_id}").json()["status"])
    measured.steps["poll"].append(time.monotonic() - began)
    return status
