"""Callers who never give up: each request is sent under a word of its own until it is answered, and all is written down."""

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
class EngineRequest:
    """One request and all that its caller saw of it."""

    word: str
    key: str
    prompt: str
    seed: int
    images: int
    steps: int
    headers: dict[str, str]
    has_webhook: bool
    ids: set[str] = field(default_factory=set)
    posts: int = 0
    refusals: list[str] = field(default_factory=list)  # answers that are no honest "later"
    first_final: Any = None  # the body in which its end was seen first
    changed: str = ""  # how its end was seen to change afterwards
    is_cancelled: bool = False  # the caller asked for it
    is_drawn: bool = False  # its pictures are there and right

    def colours(self) -> list[bytes]:
        """Tell the colour of each picture that the fake engine must draw."""
        seeds = range(self.seed, self.seed + self.images)
        return [hashlib.sha256(f"{self.prompt} {s}".encode()).digest()[:3] for s in seeds]


class Caller(threading.Thread):
    """Asks, waits for the end, and asks again, until told to stop."""

    def __init__(self, url: str, key: str, hook: str, seed: int, stopping: threading.Event) -> None:
        super().__init__(daemon=True)
        self.asked: list[EngineRequest] = []
        self._client = httpx.Client(base_url=url, trust_env=False, timeout=30)
        self._key = key
        self._hook = hook
        self._random = random.Random(seed)
        self._stopping = stopping

    def run(self) -> None:
        while not self._stopping.is_set():
            asked = self._make()
            self.asked.append(asked)
            self._post(asked)
            if asked.ids and self._random.random() < 0.9:
                self._follow(asked)
            self._stopping.wait(self._random.random())
        self._client.close()

    def _make(self) -> EngineRequest:
        chance = self._random.random()
        prompt = "die" if chance < 0.02 else "slow"
        headers = {"X-Run-Timeout": "0.5"} if 0.02 < chance < 0.05 else {}
        return EngineRequest(
            word=uuid.UUID(int=self._random.getrandbits(128)).hex,
            key=self._key,
            prompt=prompt,
            seed=self._random.randrange(2**31),
            images=self._random.choice([1, 1, 1, 2]),
            steps=self._random.choice([2, 4, 8, 20]),
            headers=headers,
            has_webhook=self._random.random() < 0.5,
            is_cancelled=0.05 < chance < 0.1,
        )

    def _post(self, asked: EngineRequest) -> None:
        body = {
            "model": TEXT,
            "input": {
                "prompt": asked.prompt,
                "seed": asked.seed,
                "num_images": asked.images,
                "num_inference_steps": asked.steps,
                "image_size": {"width": 64, "height": 64},
            },
            "webhook_url": f"{self._hook}/{asked.word}" if asked.has_webhook else "",
            "webhook_secret": "whsec_" + "c2VjcmV0" * 6,
        }
        headers = asked.headers | {"X-API-Key": asked.key, "Idempotency-Key": asked.word}
        patience = time.monotonic() + 120
        while time.monotonic() < patience:
            asked.posts += 1
            try:
                answer = self._client.post("/v1/prediction", json=body, headers=headers)
            except httpx.TransportError:
                time.sleep(0.3)
                continue
            if answer.status_code == httpx.codes.OK:
                asked.ids.add(answer.json()["predictionID"])
                if self._random.random() > 0.1:  # now and then as if the answer had been lost
                    break
            elif answer.status_code == 503 and "Retry-After" in answer.headers:
                time.sleep(0.5)
            else:
                asked.refusals.append(f"{answer.status_code} {answer.text[:200]}")
                break
        if asked.is_cancelled and asked.ids:
            self._cancel(asked)

    def _cancel(self, asked: EngineRequest) -> None:
        path = f"/v1/prediction/{next(iter(asked.ids))}/cancel"
        try:
            self._client.post(path, headers={"X-API-Key": asked.key})
        except httpx.TransportError:
            return

    def _follow(self, asked: EngineRequest) -> None:
        ends = time.monotonic() + 40
        while time.monotonic() < ends and not self._stopping.is_set():
            body = look(self._client, asked, wait=10)
            if body is not None and body["status"] in FINAL:
                return


def look(client: httpx.Client, asked: EngineRequest, wait: float = 0) -> Any:
    """Show a prediction, and write down its end; None where nobody answers."""
    try:
        answer = client.get(
            f"/v1/prediction/{next(iter(asked.ids))}",
            params={"wait": wait},
            headers={"X-API-Key": asked.key},
        )
    except httpx.TransportError:
        time.sleep(0.2)
        return None
    if answer.status_code != httpx.codes.OK:
        if answer.status_code != 503:
            asked.refusals.append(f"GET {answer.status_code} {answer.text[:200]}")
        time.sleep(0.2)
        return None
    body = answer.json()
    if asked.first_final is not None and body != asked.first_final:
        asked.changed = f"{asked.first_final} -> {body}"
    if body["status"] in FINAL and asked.first_final is None:
        asked.first_final = body
    return body
