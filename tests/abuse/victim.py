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


@dataclass
class Measured:
    """How long each step took, in seconds, and what was lost."""

    steps: dict[str, list[float]] = field(
        default_factory=lambda: {"create": [], "poll": [], "end": [], "webhook": []}
    )
    lost: list[str] = field(default_factory=list)

    def percentile_s(self, step: str, percent: int) -> float:
        """Return a percentile of a step, or the highest value if there are few."""
        values = sorted(self.steps[step])
        if len(values) < 2:
            return values[0] if values else float("nan")
        return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def measure(url: str, key: str, receiver: Receiver, seconds: float) -> Measured:
    """Create one prediction after the other for so long, and wait for each and for its webhook."""
    measured = Measured()
    ends = time.monotonic() + seconds
    with httpx.Client(
        base_url=url, headers={"X-API-Key": key}, timeout=END_S, trust_env=False
    ) as client:
        number = 0
        while number == 0 or time.monotonic() < ends:
            number += 1
            try:
                _live(client, receiver, measured, number)
            except httpx.HTTPError as exc:
                measured.lost.append(f"request {number}: {exc!r}")
    return measured


def _live(client: httpx.Client, receiver: Receiver, measured: Measured, number: int) -> None:
    """Live through one prediction."""
    name = f"{time.monotonic_ns()}"
    body = order() | {"webhook_url": f"{receiver.url}/{name}"}
    began = time.monotonic()
    created = client.post("/v1/prediction", json=body)
    measured.steps["create"].append(time.monotonic() - began)
    if created.status_code != httpx.codes.OK:
        measured.lost.append(f"create {number}: {created.status_code} {created.text}")
        threading.Event().wait(0.1)
        return
    path = f"/v1/prediction/{created.json()['predictionID']}"
    while True:
        asked = time.monotonic()
        status = client.get(path).json()["status"]
        measured.steps["poll"].append(time.monotonic() - asked)
        if status in FINAL:
            break
        if asked - began > END_S:
            measured.lost.append(f"prediction {number}: not final after {END_S} s")
            return
        threading.Event().wait(0.05)
    ended = time.monotonic()
    measured.steps["end"].append(ended - began)
    if status != "success":
        measured.lost.append(f"prediction {number}: {status}")
    while not any(call.path.endswith(name) for call in list(receiver.calls)):
        if time.monotonic() - ended > END_S:
            measured.lost.append(f"webhook {number}: not delivered after {END_S} s")
            return
        threading.Event().wait(0.01)
    measured.steps["webhook"].append(time.monotonic() - ended)
