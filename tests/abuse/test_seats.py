"""A key that waits without end: every wait of every dialect takes one of its places for waiters."""

import threading
from http import HTTPStatus
from typing import Any

import pytest

from tests.abuse.parts import ATTACKER, VICTIM, running_parts
from tests.support.api_client import TEXT, create, image_file, order, until

HANGS = {"prompt": "hang"}
REPLICATE = "/v1/models/black-forest-labs/flux-2-klein-4b/predictions"
WAITS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "poll": ("GET", "/v1/prediction/{id}?wait=60", {}),
    "prefer": ("GET", "/v1/prediction/{id}", {"headers": {"Prefer": "wait=60"}}),
    "events": ("GET", "/v1/prediction/{id}/events", {}),
    "run": ("POST", "/v1/prediction/run", {"json": order(TEXT, **HANGS)}),
    "replicate": ("POST", REPLICATE, {"json": {"input": HANGS}, "headers": {"Prefer": "wait"}}),
    "openai": ("POST", "/v1/images/generations", {"json": HANGS}),
    "openai edit": (
        "POST",
        "/v1/images/edits",
        {"data": HANGS, "files": {"image": ("a.png", image_file(), "image/png")}},
    ),
}


@pytest.fixture(scope="module")
def narrow():
    """A system in which a key may wait once."""
    with running_parts(KLEIN_KEY_WAITERS="1") as running:
        yield running


@pytest.fixture
def waiting_id(narrow):
    """The id of a prediction for which the attacker waits."""
    with narrow.client(ATTACKER) as client:
        prediction_id = create(client, **HANGS)
        path = f"/v1/prediction/{prediction_id}"
        waiter = threading.Thread(target=client.get, args=(f"{path}?wait=60",), daemon=True)
        waiter.start()
        until(lambda: "klein_waiters 1.0" in client.get("/metrics").text)
        yield prediction_id
        client.post(f"{path}/cancel").raise_for_status()
        waiter.join()


def test_every_wait_takes_a_place(narrow, waiting_id):
    """While a key has as many waiters as it may, each further wait is a 429 in every dialect, and nothing is queued. Another
    key may wait.
    """
    with narrow.client(ATTACKER) as attacker, narrow.client(VICTIM) as victim:
        codes = {
            name: attacker.request(method, path.format(id=waiting_id), **options).status_code
            for name, (method, path, options) in WAITS.items()
        }
        other = create(victim, **HANGS)
        answer = victim.get(f"/v1/prediction/{other}", params={"wait": 0.1})
        victim.post(f"/v1/prediction/{other}/cancel").raise_for_status()
        count = attacker.get("/v1/executions").json()["total_count"]

    assert codes == dict.fromkeys(WAITS, HTTPStatus.TOO_MANY_REQUESTS)
    assert answer.status_code == HTTPStatus.OK
    assert count == 1
