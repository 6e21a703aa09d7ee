"""Webhooks of the running system: the receivers, the payload, and the delivery history."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from app.dialects.eachlabs import bodies
from tests.support.api_client import LONG, create, fetch, get, order, until
from tests.support.klein_server import Klein, running_klein
from tests.support.webhook_receiver import Receiver, running_receiver, status

SECRET = "a secret of mine"


@pytest.fixture(scope="module")
def calling_klein(tiny_weights: Path) -> Iterator[Klein]:
    """A system that may call this machine."""
    with running_klein(tiny_weights, KLEIN_ALLOW_HOSTS="127.0.0.1") as running:
        yield running


@pytest.fixture
def client(calling_klein: Klein) -> Iterator[httpx.Client]:
    with calling_klein.client() as client:
        yield client


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as receiver:
        yield receiver


def ask(client: httpx.Client, url: str, **values: Any) -> str:
    inputs = values.pop("input", {})
    answer = client.post("/v1/prediction", json=order(**inputs) | {"webhook_url": url} | values)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["predictionID"])


def delivered(client: httpx.Client, prediction_id: str) -> Any:
    def look() -> Any:
        answer = client.get(f"/v1/webhooks/{prediction_id}")
        return (
            answer.status_code == 200
            and answer.json()["attempts"][0]["status"] != "PENDING"
            and answer.json()
        )

    return until(look)


def test_success_is_delivered_with_signature(client: httpx.Client, receiver: Receiver) -> None:
    """The payload has the contract's form, an image that can be fetched and a valid signature."""
    prediction_id = ask(
        client, receiver.url + "/hook?a=b", webhook_secret="whsec_c2VjcmV0IGtleSBvZiAyNCBieXRlcyE="
    )

    delivery = delivered(client, prediction_id)
    call = receiver.calls[0]
    body = json.loads(call.body)
    Webhook("whsec_c2VjcmV0IGtleSBvZiAyNCBieXRlcyE=").verify(call.body, call.headers)

    assert len(receiver.calls) == 1
    assert call.path == "/hook?a=b"
    assert body == {
        "exec_id": prediction_id,
        "flow_id": None,
        "status": "succeeded",
        "output": get(client, prediction_id)["output"],
        "error": "",
    }
    assert fetch(body["output"])
    assert call.headers["X-Webhook-Secret"] == "whsec_c2VjcmV0IGtleSBvZiAyNCBieXRlcyE="
    bodies.WebhookWithAttempts.model_validate(delivery)
    assert (delivery["execution_id"], delivery["url"]) == (
        prediction_id,
        receiver.url + "/hook?a=b",
    )
    assert delivery["request"].encode() == call.body
    assert [a["status"] for a in delivery["attempts"]] == ["SUCCESS"]
    assert delivery["attempts"][0]["response"] == "thanks"


def test_secret_is_not_shown(
    calling_klein: Klein, client: httpx.Client, receiver: Receiver
) -> None:
    """Neither the prediction, the histories nor the log contain the secret."""
    prediction_id = ask(client, receiver.url, webhook_secret=SECRET.replace(" ", "-"))
    delivery = delivered(client, prediction_id)

    places = [
        str(delivery),
        str(get(client, prediction_id)),
        client.get("/v1/executions").text,
        client.get("/v1/webhooks").text,
        "\n".join(calling_klein.log),
    ]
    assert receiver.calls[0].headers["X-Webhook-Secret"] == SECRET.replace(" ", "-")
    assert [place for place in places if SECRET.replace(" ", "-") in place] == []


def test_cancel_sends_no_webhook(client: httpx.Client, receiver: Receiver) -> None:
    """A cancelled prediction sends no webhook, and has no delivery."""
    prediction_id = ask(client, receiver.url, input=LONG)
    client.post(f"/v1/prediction/{prediction_id}/cancel")
    delivered(client, ask(client, receiver.url))

    assert len(receiver.calls) == 1
    answer = client.get(f"/v1/webhooks/{prediction_id}")
    assert (answer.status_code, answer.json()["error"]) == (404, "webhook not found")


def test_webhook_pagination_and_isolation(
    calling_klein: Klein, client: httpx.Client, receiver: Receiver
) -> None:
    """The list has no attempts, newest first. Another key can neither list, read nor redeliver."""
    ids = [ask(client, receiver.url) for _ in range(3)]
    for prediction_id in ids:
        delivered(client, prediction_id)
    create(client)

    listed = client.get("/v1/webhooks", params={"limit": 2, "offset": 1}).json()
    bodies.Webhooks.model_validate(listed)
    assert [w["execution_id"] for w in listed["webhooks"]] == [ids[1], ids[0]]
    assert "attempts" not in listed["webhooks"][0]
    assert (listed["limit"], listed["offset"]) == (2, 1)
    assert listed["total_count"] >= 3
    with calling_klein.client(calling_klein.other_key) as other_client:
        assert other_client.get("/v1/webhooks").json()["webhooks"] == []
        assert other_client.get(f"/v1/webhooks/{ids[0]}").status_code == 404
        assert other_client.post(f"/v1/webhooks/{ids[0]}/redeliver").status_code == 404
    assert client.get("/v1/webhooks?limit=101").json()["error"] == "invalid limit parameter"


def test_manual_redelivery(client: httpx.Client, receiver: Receiver) -> None:
    """A redelivery sends the same id and body once more and adds an attempt."""
    prediction_id = ask(client, receiver.url)
    delivered(client, prediction_id)

    again = client.post(f"/v1/webhooks/{prediction_id}/redeliver")
    until(lambda: len(receiver.calls) == 2)
    until(lambda: len(client.get(f"/v1/webhooks/{prediction_id}").json()["attempts"]) == 2)

    assert again.status_code == 200
    assert receiver.calls[0].body == receiver.calls[1].body
    assert receiver.calls[0].headers["webhook-id"] == receiver.calls[1].headers["webhook-id"]


def test_courier_kill_loses_no_webhook(
    calling_klein: Klein, client: httpx.Client, receiver: Receiver
) -> None:
    """Predictions that end while no courier runs are delivered by the next one."""
    courier = calling_klein.part("courier")
    assert courier is not None
    courier.suspend()
    prediction_id = ask(client, receiver.url)
    until(lambda: get(client, prediction_id, wait=10)["status"] == "success")
    assert receiver.calls == []
    courier.kill()

    delivered(client, prediction_id)

    assert len(receiver.calls) == 1


def test_private_receivers_are_not_called(klein: Klein) -> None:
    """Without KLEIN_ALLOW_HOSTS nobody on this machine is called, and the history does not say why."""
    with running_receiver(status(200)) as receiver, klein.client() as client:
        delivery = delivered(client, ask(client, receiver.url))

        assert receiver.calls == []
        assert delivery["attempts"][0]["status"] == "FAILED"
        assert "could not be reached" in delivery["attempts"][0]["error_message"]
