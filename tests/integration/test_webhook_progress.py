"""Webhooks before the end, on a real Redis to a real receiver."""

import json

import pytest

from app.predictions.prediction import Webhook
from app.predictions.redis_keys import WEBHOOK_STARTS, WEBHOOKS_DUE
from app.predictions.webhook_event import WebhookEvent
from tests.support.courier import Post
from tests.support.fakes import a_prediction, eventually
from tests.support.webhook_receiver import running_receiver, status

START, OUTPUT, LOGS, COMPLETED = WebhookEvent


@pytest.fixture
def post(connection):
    return Post(connection, within_s=1.0)


def show(prediction):
    ended = prediction.finished_at is not None
    state = {"status": prediction.status, "step": prediction.step, "ended": ended}
    return json.dumps(state).encode()


def add(post, url, *events):
    webhook = Webhook(url=url, base="http://klein.test", events=events)
    post.store.add(a_prediction(webhook=webhook))


def claim(post):
    post.store.change("p", lambda p, now: p.claim("a", now))


def advance(post, step):
    post.store.change("p", lambda p, _now: p.advance("a", step, 9))


def succeed(post):
    post.store.change("p", lambda p, now: p.succeed("a", (), (), now))


def hang(handler):
    handler.released.wait()


def states(receiver):
    return [json.loads(call.body)["status"] for call in receiver.calls]


def test_start_and_end_are_told_in_order(post):
    """Even if both are over before the courier looks, each has an id of its own, and the start shows no end."""
    with running_receiver() as receiver:
        add(post, receiver.url, START, COMPLETED)
        claim(post)
        advance(post, 9)
        succeed(post)
        with post.courier(show):
            post.until_over()

    started, ended = receiver.calls
    assert json.loads(started.body) == {"status": "running", "step": 0, "ended": False}
    assert json.loads(ended.body) == {"status": "succeeded", "step": 9, "ended": True}
    ids = [call.headers["webhook-id"] for call in receiver.calls]
    assert ids == ["msg_p_start", "msg_p"]
    assert not post.connection.exists(WEBHOOK_STARTS)


def test_start_is_told_once_and_not_repeated(post):
    """A receiver that fails at the start is told the end, whose attempts are the only ones in the history."""
    with running_receiver(status(500), status(200)) as receiver, post.courier(show):
        add(post, receiver.url, START, COMPLETED)
        claim(post)
        eventually(lambda: not post.connection.exists(WEBHOOK_STARTS))
        assert (states(receiver), post.due()) == (["running"], 0)
        succeed(post)

        assert [attempt.status_code for attempt in post.until_over()] == [200]
    assert states(receiver) == ["running", "succeeded"]


def test_end_waits_for_start(post):
    """An end that comes while a silent receiver is told the start is sent after it."""
    with running_receiver(hang, status(200)) as receiver, post.courier(show):
        add(post, receiver.url, START, COMPLETED)
        claim(post)
        eventually(lambda: receiver.calls)
        succeed(post)
        post.until_over()

    assert states(receiver) == ["running", "succeeded"]


def test_steps_share_a_webhook(post):
    """Steps in quick succession are told at once, with the latest one, and a later step again."""
    with running_receiver() as receiver:
        add(post, receiver.url, LOGS)
        claim(post)
        assert post.due() == 0
        advance(post, 1)
        due_ms = post.connection.zscore(WEBHOOKS_DUE, "p")
        advance(post, 2)
        assert post.connection.zscore(WEBHOOKS_DUE, "p") == due_ms
        with post.courier(show):
            eventually(lambda: len(receiver.calls) == 1 and post.due() == 0)
            advance(post, 3)
            eventually(lambda: len(receiver.calls) == 2)

    assert [json.loads(call.body)["step"] for call in receiver.calls] == [2, 3]


def test_start_alone_is_no_delivery(post):
    """A receiver that wants only the start is not told the end, and the history stays empty."""
    with running_receiver() as receiver:
        add(post, receiver.url, START)
        claim(post)
        succeed(post)
        with post.courier(show):
            eventually(lambda: not post.connection.exists(WEBHOOK_STARTS, WEBHOOKS_DUE))

    assert states(receiver) == ["running"]
    assert post.outbox.history("key", offset=0, limit=5).total == 0
