"""Several api processes, restarted one after the other while callers create, run and wait."""

import itertools
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.chaos.system import System, running_system
from tests.support.api_client import is_ready, order, ready_client, until

pytestmark = pytest.mark.timeout(120)
CALLERS = 6
ORDER: dict[str, Any] = {
    "prompt": "slow",
    "num_inference_steps": 30,
}  # six of them wait longer than the grace period
RANK = {"created": 0, "processing": 1, "success": 2}


@dataclass
class Caller:
    """Calls one api, and the next one if that is gone or answers 503, as a client behind a proxy does."""

    urls: list[str]
    name: str
    ids: dict[str, set[str]] = field(default_factory=dict)  # by idempotency key
    ends: list[str] = field(default_factory=list)
    sent_again: int = 0

    def create_and_wait(self, stopping: threading.Event) -> None:
        for number in itertools.count():
            idempotency_key = f"{self.name}-{number}"
            created = self._ask("POST", "/v1/prediction", idempotency_key)
            self._ask("POST", "/v1/prediction", idempotency_key)
            prediction = created | {"status": "created"}
            while prediction["status"] != "success":
                before = prediction
                prediction = self._ask("GET", f"/v1/prediction/{created['predictionID']}?wait=60")
                assert RANK[prediction["status"]] >= RANK[before["status"]]
            self.ends.append(prediction["status"])
            if stopping.is_set():
                return

    def run(self, stopping: threading.Event) -> None:
        for number in itertools.count():
            self.ends.append(self._ask("POST", "/v1/prediction/run", f"run-{number}")["status"])
            if stopping.is_set():
                return

    def _ask(self, method: str, path: str, idempotency_key: str = "") -> Any:
        headers = {"X-API-Key": "a-key-of-more-than-thirty-two-characters"} | (
            {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        )
        for url in itertools.cycle(self.urls):
            try:
                answer = httpx.request(
                    method, url + path, json=order(**ORDER), headers=headers, timeout=90
                )
            except httpx.TransportError:
                self.sent_again += 1
                threading.Event().wait(0.05)
                continue
            if answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0:
                self.sent_again += 1
                continue
            assert answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}"
            body = answer.json()
            if idempotency_key:
                self.ids.setdefault(idempotency_key, set()).add(body["predictionID"])
            return body
        raise AssertionError


@pytest.fixture
def system() -> Iterator[System]:
    """Processes with a grace period of four seconds."""
    os.environ["KLEIN_GRACE"] = "4"
    try:
        with running_system(workers=1, keys=["a-key-of-more-than-thirty-two-characters"]) as system:
            yield system
    finally:
        del os.environ["KLEIN_GRACE"]


@pytest.mark.slow
def test_api_rolling_restart_loses_no_prediction(system: System) -> None:
    """No caller gets an error other than 503, every accepted prediction succeeds, and each request creates one."""
    urls = [system.url, system.add_api()]
    callers = [Caller(urls[:: 1 if k % 2 else -1], f"caller-{k}") for k in range(CALLERS)]
    stopping = threading.Event()
    with ThreadPoolExecutor(CALLERS + 1) as threads:
        pending = [threads.submit(caller.create_and_wait, stopping) for caller in callers[1:]]
        pending.append(threads.submit(callers[0].run, stopping))
        try:
            for api, url in zip(system.apis, urls, strict=True):
                with ready_client(url, "a-key-of-more-than-thirty-two-characters") as client:
                    until(lambda: "klein_waiters 0.0" not in client.get("/metrics").text)
                    starts = api.starts
                    api.signal(signal.SIGTERM)
                    until(lambda a=api, s=starts: a.starts > s)  # type: ignore[misc]  # mypy cannot infer this lambda
                    until(lambda: is_ready(client))
        finally:
            stopping.set()
        for each in pending:
            each.result()

    assert {end for caller in callers for end in caller.ends} == {"success"}
    assert [ids for caller in callers for ids in caller.ids.values() if len(ids) != 1] == []
    assert sum(caller.sent_again for caller in callers) > 0
    assert not any("Traceback" in line for api in system.apis for line in api.tail)
