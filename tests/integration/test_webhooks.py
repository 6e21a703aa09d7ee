"""Deliveries on a real Redis to a real receiver with every kind of failure."""

import asyncio
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from app.predictions.prediction import Webhook
from app.predictions.redis_keys import WEBHOOKS_DUE, deliveries_key, delivery_key
from app.safe_http import SafeHttp
from app.webhooks.deliverer import CONCURRENT_PER_HOST, Deliverer
from app.webhooks.outbox import Outbox, UnknownWebhook
from app.webhooks.send import Sender
from tests.support.fakes import a_prediction, a_store, eventually, make_due
from tests.support.redis_server import running_redis
from tests.support.webhook_receiver import reset, running_receiver, status

PAUSES = (timedelta(milliseconds=20),) * 2


class Post:
    """The delivery part of a courier, wired as in worker/main.py, with short delays."""

    def __init__(self, connection, within_s=5.0):
        self.connection = connection
        self.store = a_store(connection)
        self.outbox = Outbox(connection, self.store, PAUSES)
        self.sender = Sender(SafeHttp(("127.0.0.1",)), lambda: datetime.now(UTC), within_s)

    def owe(self, url, prediction_id="p"):
        """End a prediction that has a webhook."""
        webhook = Webhook(url=url, secret="hush", base="http://klein.test")
        self.store.add(a_prediction(prediction_id, webhook=webhook))
        self.store.change(prediction_id, lambda p, now: p.claim("a", now))
        self.store.change(prediction_id, lambda p, now: p.succeed("a", (), (), now))

    @contextmanager
    def courier(self):
        stopping = threading.Event()
        deliverer = Deliverer(
            self.outbox, self.store, self.sender, lambda p: f'{{"exec_id":"{p.id}"}}'.encode()
        )
        thread = threading.Thread(target=lambda: asyncio.run(deliverer.run(stopping)))
        thread.start()
        try:
            yield
        finally:
            stopping.set()
            thread.join()

    def attempts(self, prediction_id="p"):
        return self.outbox.get("key", prediction_id)[1].attempts

    def due(self):
        return self.connection.zcard(WEBHOOKS_DUE)

    def until_over(self, prediction_id="p"):
        eventually(lambda: self.connection.zscore(WEBHOOKS_DUE, prediction_id) is None)
        return self.attempts(prediction_id)


@pytest.fixture
def post(connection):
    return Post(connection)


@pytest.fixture
def hasty(connection):
    """A courier with a short timeout, which still lets a slow machine answer."""
    return Post(connection, within_s=1.0)


def hang(handler):
    """Send nothing while the test runs."""
    handler.released.wait()


def drip(head):
    """Send headers, then one byte now and then, for longer than the timeout."""

    def answer(handler):
        handler.wfile.write(head)
        while not handler.released.wait(0.05):
            handler.wfile.write(b"x")

    return answer


def test_failures_are_tried_again(post):
    """The answers 500, 500 and 200 are three attempts with one id and one body, and then the delivery is done."""
    with running_receiver(status(500), status(500), status(200)) as receiver, post.courier():
        post.owe(receiver.url)
        attempts = post.until_over()

    assert [a.status_code for a in attempts] == [500, 500, 200]
    assert len({c.headers["webhook-id"] for c in receiver.calls}) == 1
    assert len({c.body for c in receiver.calls}) == 1


def test_it_is_given_up(post):
    """After three failures the delivery is given up, and all three are in the history."""
    with running_receiver(status(503)) as receiver, post.courier():
        post.owe(receiver.url)

        assert [a.status_code for a in post.until_over()] == [503] * 3


def test_a_redirect_is_not_followed(post):
    """A 301 is a failure like any other. The target gets no request."""
    with running_receiver() as elsewhere:
        moved = status(301, Location=elsewhere.url)
        with running_receiver(moved, status(200)) as receiver, post.courier():
            post.owe(receiver.url)

            assert [a.status_code for a in post.until_over()] == [301, 200]
        assert elsewhere.calls == []


def test_410_ends_the_delivery(post):
    """A receiver that answers 410 is called once."""
    with running_receiver(status(410)) as receiver, post.courier():
        post.owe(receiver.url)

        assert [a.status_code for a in post.until_over()] == [410]


@pytest.mark.parametrize("bad", [reset, hang, drip(b"HTTP/1.1 200 OK\r\nX-Slow: ")])
def test_silence_is_bounded(hasty, bad):
    """A reset, no answer, and endless headers are failures with the same error."""
    with running_receiver(bad, status(200)) as receiver, hasty.courier():
        hasty.owe(receiver.url)
        first, second = hasty.until_over()

    assert (first.status_code, second.status_code) == (None, 200)
    assert "could not be reached" in first.error


def test_nobody_listens(hasty):
    """A refused connection has the same error as every other connection failure."""
    with running_receiver() as receiver:
        url = receiver.url
    with hasty.courier():
        hasty.owe(url)

        assert {a.error for a in hasty.until_over()} == {
            "the receiver could not be reached, or did not answer in time"
        }


def test_a_slow_body_acknowledges(hasty):
    """The status counts, however slowly the body arrives."""
    slow = drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    with running_receiver(slow) as receiver, hasty.courier():
        hasty.owe(receiver.url)
        (attempt,) = hasty.until_over()

    assert attempt.status_code == 200
    assert attempt.response.startswith("xx")


def test_a_large_reply_is_cut(post):
    """Of a reply of ten megabytes one kilobyte is kept."""
    with running_receiver(status(200, b"y" * 10_000_000)) as receiver, post.courier():
        post.owe(receiver.url)
        (attempt,) = post.until_over()

    assert attempt.response == "y" * 1024


def test_a_slow_receiver_holds_up_only_itself(connection):
    """If more deliveries wait for one receiver than may run at once, another receiver is called meanwhile."""
    post = Post(connection, within_s=600)
    with running_receiver(hang) as slow, running_receiver() as quick, post.courier():
        for k in range(3 * CONCURRENT_PER_HOST):
            post.owe(slow.url, f"slow-{k}")
        eventually(lambda: len(slow.calls) == CONCURRENT_PER_HOST)
        post.owe(quick.url, "quick")
        eventually(lambda: quick.calls)

        assert len(slow.calls) == CONCURRENT_PER_HOST
        slow.released.set()


def test_couriers_share_the_work(post):
    """Two couriers send each delivery once."""
    with running_receiver() as receiver, post.courier(), post.courier():
        for k in range(30):
            post.owe(receiver.url, f"p{k}")
        eventually(lambda: post.due() == 0)

    assert len(receiver.calls) == 30
    assert len({c.headers["webhook-id"] for c in receiver.calls}) == 30


def test_what_a_stopped_courier_leaves_is_taken_up(post):
    """A courier that is shut down releases its deliveries in progress."""
    with running_receiver(hang, status(200)) as receiver:
        with post.courier():
            post.owe(receiver.url)
            eventually(lambda: receiver.calls)
        assert post.due() == 1
        with post.courier():
            assert [a.status_code for a in post.until_over()] == [200]


def test_what_a_killed_courier_leaves_is_taken_up(post):
    """A delivery that was leased and never recorded is due again once the lease has expired."""
    with running_receiver() as receiver:
        post.owe(receiver.url)
        assert post.outbox.take(10) == ["p"]
        assert post.outbox.take(10) == []
        make_due(post.connection, "p", WEBHOOKS_DUE)
        with post.courier():
            post.until_over()

    assert len(receiver.calls) == 1


def test_an_outage_of_redis_sends_nothing_twice():
    """A delivery that was sent while Redis went down is recorded once it is back."""
    with running_redis() as server, server.connect() as connection:
        post = Post(connection)

        def kill_and_answer(handler):
            server.kill()
            status(200)(handler)

        with running_receiver(kill_and_answer) as receiver, post.courier():
            post.owe(receiver.url)
            eventually(lambda: receiver.calls)
            server.start()
            eventually(post.attempts)

            assert [a.status_code for a in post.until_over()] == [200]
            assert len(receiver.calls) == 1


def test_a_cancelled_prediction_owes_nothing(post):
    """A cancel adds nothing to the outbox."""
    webhook = Webhook(url="http://127.0.0.1:1", base="http://klein.test")
    post.store.add(a_prediction(webhook=webhook))
    post.store.change("p", lambda p, now: p.cancel(now))

    assert post.due() == 0
    with pytest.raises(UnknownWebhook):
        post.outbox.get("key", "p")


def test_a_delivery_goes_with_its_prediction(post, connection):
    """Expire deletes the delivery of a prediction, even while it is being sent."""

    def delete_and_answer(handler):
        post.store.delete(post.store.get("p"))
        status(500)(handler)

    with running_receiver(delete_and_answer) as receiver, post.courier():
        post.owe(receiver.url)
        eventually(lambda: receiver.calls)
        eventually(lambda: post.due() == 0)

    left = [WEBHOOKS_DUE, delivery_key("p"), deliveries_key("key")]
    assert [key for key in left if connection.exists(key)] == []


def test_redelivery_after_giving_up(post):
    """A manual redelivery is sent once more, whatever the result before."""
    with running_receiver(status(410), status(200)) as receiver, post.courier():
        post.owe(receiver.url)
        post.until_over()
        post.outbox.redeliver("key", "p")

        assert [a.status_code for a in post.until_over()] == [410, 200]


def test_a_delivery_belongs_to_its_key(post):
    """Another key's delivery is unknown."""
    post.owe("http://127.0.0.1:1")

    assert post.outbox.history("key", offset=0, limit=5).total == 1
    assert post.outbox.history("other", offset=0, limit=5).deliveries == []
    with pytest.raises(UnknownWebhook):
        post.outbox.get("other", "p")
