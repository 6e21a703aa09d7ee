"""Tests of the checks of `make chaos`: each kind of violation is found."""

import io
from contextlib import contextmanager
from dataclasses import replace

import httpx
import pytest
from PIL import Image

from tests.chaos import verdict as verdict_module
from tests.chaos.__main__ import judge_exits, judge_silent_receiver
from tests.chaos.faults import GRACE_S
from tests.chaos.load import CallerRequest
from tests.chaos.verdict import Verdict
from tests.support.silent_host import silent_hosts
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


def an_image(colour, side=64):
    file = io.BytesIO()
    Image.new("RGB", (side, side), tuple(colour)).save(file, "PNG")
    return file.getvalue()


def judged(body, image=None, status=200, **changes):
    """Check one prediction that a server shows like this, and return the violations."""
    one = replace(REQUEST, ids={"p"}, **changes)

    def serve(request):
        if request.url.path.endswith(".png"):
            return httpx.Response(status, content=image or an_image(one.colours()[0]))
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


def test_valid_outcomes_are_no_violations():
    """A success with its image, a requested cancel and a failure after three attempts are no violations."""
    assert judged(SUCCESS) == []
    assert judged({"status": "cancelled"}, is_cancelled=True) == []
    assert judged({"status": "error", "error": "it died, in each of 3 attempts"}) == []


@pytest.mark.parametrize(
    ("body", "values", "words"),
    [
        ({"status": "processing"}, {}, "not final"),
        (SUCCESS, {"image": an_image((1, 2, 3))}, "not the requested image"),
        (SUCCESS, {"image": an_image((0, 0, 0), side=32)}, "not the requested image"),
        (SUCCESS, {"status": 404}, "answers 404"),
        (SUCCESS | {"output": []}, {}, "0 images instead of 1"),
        ({"status": "cancelled"}, {}, "cancelled without a request"),
        ({"status": "error", "error": "just so"}, {}, "without a valid reason"),
        (SUCCESS, {"first_final": {"status": "error"}}, "changed after it was final"),
    ],
)
def test_each_broken_promise_is_one_violation(body, values, words):
    """Each kind of broken promise is one violation with its reason."""
    violations = judged(body, **values)

    assert len(violations) == 1
    assert words in violations[0]


def test_webhook_violations():
    """A missing webhook, only failed calls, differing calls and a webhook for a cancel are violations."""
    headers = {"webhook-id": "1"}
    good = Call("/w", headers, b"x", is_answered_well=True)
    bad = replace(good, is_answered_well=False)

    assert "not delivered in 0" in webhooks()[0]
    assert "not delivered in 1" in webhooks(bad)[0]
    assert "differ" in webhooks(bad, replace(good, body=b"y"))[0]
    assert "sent for a cancel" in webhooks(good, status="cancelled")[0]


def test_worker_that_outlives_its_grace_period_is_violation():
    """A worker that exits long after the grace period, or never, is a violation. One that exits a little late is not."""
    verdict = Verdict()
    judge_exits([0.1, GRACE_S + 1], verdict)
    assert verdict.violations == []
    judge_exits([GRACE_S * 10], verdict)
    judge_exits([float("inf")], verdict)

    assert [v.split(" s ")[0] for v in verdict.violations] == [
        "a worker exited 60.0",
        "a worker exited inf",
    ]


def test_unused_silent_receiver_is_violation():
    """A run in which no webhook reached the silent receiver proves nothing about it."""
    verdict = Verdict()
    with silent_hosts(1) as (silent,):
        judge_silent_receiver(silent, verdict)

    assert verdict.violations == ["no webhook was sent to the silent receiver"]


def test_webhook_to_silent_receiver_is_not_expected():
    """The webhooks of the key with the silent receiver are not expected to arrive."""
    one = replace(REQUEST, ids={"p"}, first_final={"status": "success"}, is_receiver_silent=True)
    verdict = Verdict()
    verdict_module.check_webhooks(Receiver(), [one], verdict)

    assert verdict.violations == []
