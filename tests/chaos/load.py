"""Callers that never give up: each request is repeated under an idempotency key of its own until it is answered, and everything is recorded."""

import hashlib
import random
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx

TEXT = "flux-2-klein-4b-text-to-image"
FINAL = {"success", "error", "cancelled"}


@dataclass
class CallerRequest:
    """One request and everything that its caller observed."""

    idempotency_key: str
    key: str
    prompt: str
    seed: int
    images: int
    steps: int
    headers: dict[str, str]
    has_webhook: bool
    is_receiver_silent: bool = False  # then nobody expects the webhook
    ids: set[str] = field(default_factory=set)
    posts: int = 0
    refusals: list[str] = field(default_factory=list)  # neither a 200 nor a 503 with Retry-After
    first_final: Any = None  # the body in which its end was first seen
    changed: str = ""  # how its end changed afterwards, if it did
    is_cancelled: bool = False  # the caller requested the cancel
    has_valid_images: bool = False  # its images exist and are correct

    def colours(self) -> list[bytes]:
        """Return the colour of each image that the fake engine must generate."""
        seeds = range(self.seed, self.seed + self.images)
        return [hashlib.sha256(f"{self.prompt} {s}".encode()).digest()[:3] for s in seeds]


class Caller(threading.Thread):
    """Sends requests, waits for the end, and sends again, until stopped."""

    def __init__(  # noqa: PLR0913 -- all that callers differ in
        self,
        url: str,
        key: str,
        hook: str,
        seed: int,
        stopping: threading.Event,
        *,
        is_receiver_silent: bool = False,
    ) -> None:
        super().__init__(daemon=True)
        self._is_receiver_silent = is_receiver_silent
        self.requests: list[CallerRequest] = []
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=30)
        self._key = key
        self._hook = hook
        self._random = random.Random(seed)
        self._stopping = stopping

    def run(self) -> None:
        while not self._stopping.is_set():
            request = self._make()
            self.requests.append(request)
            self._post(request)
            if request.ids and self._random.random() < 0.9:
                self._follow(request)
            self._stopping.wait(self._random.random())
        self._client.close()

    def _make(self) -> CallerRequest:
        chance = self._random.random()
        prompt = "die" if chance < 0.02 else "slow"
        headers = {"X-Run-Timeout": "0.5"} if 0.02 < chance < 0.05 else {}
        return CallerRequest(
            idempotency_key=uuid.UUID(int=self._random.getrandbits(128)).hex,
            key=self._key,
            prompt=prompt,
            seed=self._random.randrange(2**31),
            images=self._random.choice([1, 1, 1, 2]),
            steps=self._random.choice([2, 4, 8, 20]),
            headers=headers,
            has_webhook=self._is_receiver_silent or self._random.random() < 0.5,
            is_receiver_silent=self._is_receiver_silent,
            is_cancelled=0.05 < chance < 0.1,
        )

    def _post(self, request: CallerRequest) -> None:
        body = {
            "model": TEXT,
            "input": {
                "prompt": request.prompt,
                "seed": request.seed,
                "num_images": request.images,
                "num_inference_steps": request.steps,
                "image_size": {"width": 64, "height": 64},
            },
            "webhook_url": f"{self._hook}/{request.idempotency_key}" if request.has_webhook else "",
            "webhook_secret": "whsec_" + "c2VjcmV0" * 6,
        }
        headers = request.headers | {
            "X-API-Key": request.key,
            "Idempotency-Key": request.idempotency_key,
        }
        patience = time.monotonic() + 120
        while time.monotonic() < patience:
            request.posts += 1
            try:
                answer = self._client.post("/v1/prediction", json=body, headers=headers)
            except httpx.TransportError:
                time.sleep(0.3)
                continue
            if answer.status_code == httpx.codes.OK:
                request.ids.add(answer.json()["predictionID"])
                if self._random.random() > 0.1:  # else as if the response was lost
                    break
            elif answer.status_code == 503 and "Retry-After" in answer.headers:
                time.sleep(0.5)
            else:
                request.refusals.append(f"{answer.status_code} {answer.text[:200]}")
                break
        if request.is_cancelled and request.ids:
            self._cancel(request)

    def _cancel(self, request: CallerRequest) -> None:
        path = f"/v1/prediction/{next(iter(request.ids))}/cancel"
        try:
            self._client.post(path, headers={"X-API-Key": request.key})
        except httpx.TransportError:
            return

    def _follow(self, request: CallerRequest) -> None:
        ends = time.monotonic() + 40
        while time.monotonic() < ends and not self._stopping.is_set():
            body = look(self._client, request, wait=10)
            if body is not None and body["status"] in FINAL:
                return


def look(client: httpx.Client, request: CallerRequest, wait: float = 0) -> Any:
    """Get a prediction and record its end. Returns None if nobody answers."""
    try:
        answer = client.get(
            f"/v1/prediction/{next(iter(request.ids))}",
            params={"wait": wait},
            headers={"X-API-Key": request.key},
        )
    except httpx.TransportError:
        time.sleep(0.2)
        return None
    if answer.status_code != httpx.codes.OK:
        if answer.status_code != 503:
            request.refusals.append(f"GET {answer.status_code} {answer.text[:200]}")
        time.sleep(0.2)
        return None
    body = answer.json()
    if request.first_final is not None and body != request.first_final:
        request.changed = f"{request.first_final} -> {body}"
    if body["status"] in FINAL and request.first_final is None:
        request.first_final = body
    return body
