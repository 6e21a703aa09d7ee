"""Tests of the checks of `make chaos`: each kind of violation is found."""

import io
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest
from PIL import Image

from tests.chaos import verdict as verdict_module
from tests.chaos.load import CallerRequest
from tests.chaos.verdict import Verdict
from tests.support.webhook_receiver import Call, Receiver

REQUEST = CallerRequest(
    idempotency_key="w",
    key="k",
    prompt="slow",
    seed=1,
    images=1,
    steps=2,
    headers={},
    has_webhook=True,
)
SUCCESS = {"status": "success", "output": "http://test/0.png"}


def a_picture(colour, side=64):
    file = io.BytesIO()
    Image.new("RGB", (side, side), tuple(colour)).save(file, "PNG")
    return file.getvalue()


def judged(body, picture=None, status=200, **changes):
    """Check one prediction that a server shows like this, and return the violations."""
    one = replace(REQUEST, ids={"p"}, **changes)

    def serve(request):
        if request.url.path.endswith(".png"):
            return httpx.Response(status, content=picture or a_picture(one.colours()[0]))
        return httpx.Response(200, json=body)

    verdict = Verdict()
    with httpx.Client(transport=httpx.MockTransport(serve), base_url="http://test") as client:
        verdict_module.check_end(client, one, verdict)
    return verdict.violations


@contextmanager
def receiver_with(*calls):
    receiver = Receiver()
    receiver.calls.extend(calls)
    yield receiver


def webhooks(*calls, status="success"):
    one = replace(REQUEST, ids={"p"}, first_final={"status": status})
    verdict = Verdict()
    with receiver_with(*calls) as receiver:
        verdict_module.check_webhooks(receiver, [one], verdict)
    return verdict.violations


def test_what_is_right_is_no_violation():
    """A success with its image, a requested cancel and a failure after three attempts are no violations."""
    assert judged(SUCCESS) == []
    assert judged({"status": "cancelled"}, is_cancelled=True) == []
    assert judged({"status": "error", "error": "it died, in each of 3 attempts"}) == []


@pytest.mark.parametrize(
    ("body", "values", "words"),
    [
        ({"status": "processing"}, {}, "not final"),
        (SUCCESS, {"picture": a_picture((1, 2, 3))}, "not the picture"),
        (SUCCESS, {"picture": a_picture((0, 0, 0), side=32)}, "not the picture"),
        (SUCCESS, {"status": 404}, "answers 404"),
        (SUCCESS | {"output": []}, {}, "0 pictures of 1"),
        ({"status": "cancelled"}, {}, "cancelled by nobody"),
        ({"status": "error", "error": "just so"}, {}, "no reason of its own"),
        (SUCCESS, {"first_final": {"status": "error"}}, "changed after its end"),
    ],
)
def test_each_broken_promise_is_one(body, values, words):
    """Each kind of broken promise is one violation with its reason."""
    violations = judged(body, **values)

    assert len(violations) == 1
    assert words in violations[0]


def test_webhooks_are_judged():
    """A missing webhook, only failed calls, differing calls and a webhook for a cancel are violations."""
    headers = {"webhook-id": "1"}
    good = Call("/w", headers, b"x", is_answered_well=True)
    bad = replace(good, is_answered_well=False)

    assert "not delivered in 0" in webhooks()[0]
    assert "not delivered in 1" in webhooks(bad)[0]
    assert "differ" in webhooks(bad, replace(good, body=b"y"))[0]
    assert "a cancel was told" in webhooks(good, status="cancelled")[0]
