"""Tests of the webhook body and the delivery history."""

import json
from datetime import timedelta

from app.dialects.eachlabs import bodies
from app.dialects.eachlabs.webhook import attempts_of, delivery_body, webhook_body
from app.dialects.image_links import ImageLinks
from app.predictions.failure import Cause, Failure
from app.predictions.prediction import Output, Webhook
from app.webhooks.delivery import DeliveryAttempt, first_delivery
from tests.support.fakes import NOW, a_prediction

WEBHOOK = Webhook(url="https://x.test/hook", secret="hush", base="https://klein.test")
OUTPUTS = tuple(Output(key=f"p/{k}.png", width=64, height=64) for k in range(2))
running = a_prediction(webhook=WEBHOOK).claim("a", NOW)
one = running.succeed("a", OUTPUTS[:1], (), NOW + timedelta(seconds=1))
two = running.succeed("a", OUTPUTS, (), NOW)
failed = running.fail("a", Failure(cause=Cause.ENGINE, message="it broke"), NOW)


LINKS = ImageLinks(
    base="https://klein.test",
    retention=timedelta(days=1),
    link=lambda key, _: f"https://klein.test/{key}",
)


def show(output):
    return f"https://klein.test/{output.key}"


def body_of(prediction):
    return webhook_body(prediction, LINKS, show)


def test_success_body():
    """The body is that of the contract, with the output as GET shows it."""
    assert json.loads(body_of(one)) == {
        "exec_id": "p",
        "flow_id": None,
        "status": "succeeded",
        "output": "https://klein.test/p/0.png",
        "error": "",
    }
    assert json.loads(body_of(two))["output"] == [show(output) for output in OUTPUTS]


def test_failure_body():
    """The body of a failure has the reason in its output, as the hosted API does."""
    assert json.loads(body_of(failed)) == {
        "exec_id": "p",
        "flow_id": None,
        "status": "failed",
        "output": [{"id": "", "status": "", "output": "", "error": "it broke"}],
        "error": "",
    }


def test_delivery_history():
    """The history has the documented fields, the body as it was sent, every attempt and no secret."""
    fresh = first_delivery(one)
    delivery = fresh.with_attempt(
        DeliveryAttempt(at=NOW, status_code=500, response="x", error="500")
    ).with_attempt(DeliveryAttempt(at=NOW, status_code=204, response=""))
    shown = delivery_body(delivery, body_of(one)) | {"attempts": attempts_of(delivery)}
    bodies.WebhookWithAttempts.model_validate(shown)

    assert shown["request"].encode() == body_of(one)
    assert shown["created_at"] == "2026-01-02T03:04:06Z"
    assert [a["status"] for a in shown["attempts"]] == ["FAILED", "SUCCESS"]
    assert [a["status"] for a in attempts_of(fresh)] == ["PENDING"]
    assert "hush" not in str(shown)
