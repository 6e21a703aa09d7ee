"""Deliveries on a real Redis to a real receiver with every kind of failure."""

import threading
import time

import pytest

from app.predictions.prediction import Webhook
from app.predictions.redis_keys import WEBHOOKS_DUE, deliveries_key, delivery_key
from app.webhooks.outbox import UnknownWebhook
from app.webhooks.slots import CONCURRENT_PER_RECEIVER
from tests.support.courier import Post
from tests.support.fakes import a_prediction, eventually, make_due
from tests.support.redis_server import running_redis
from tests.support.webhook_receiver import reset, running_receiver, status
from worker.courier import listen


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


def test_failed_delivery_is_retried(post):
    """The answers 500, 500 and 200 are three attempts with one id and one body, and then the delivery is done."""
    with running_receiver(status(500), status(500), status(200)) as receiver, post.courier():
        post.owe(receiver.url)
        attempts = post.until_over()

    assert [a.status_code for a in attempts] == [500, 500, 200]
    assert len({c.headers["webhook-id"] for c in receiver.calls}) == 1
    assert len({c.body for c in receiver.calls}) == 1


def test_announced_delivery_is_made_at_once(post, connection):
    """A courier without work delivers what is announced, not only what its next poll finds."""
    stopping = threading.Event()
    with running_receiver() as receiver, post.courier(rest_s=1e6) as deliverer:
        listener = threading.Thread(target=listen, args=(connection, deliverer.wake, stopping))
        listener.start()
        try:
            eventually(lambda: connection.pubsub_numsub(WEBHOOKS_DUE)[0][1] == 1)
            post.owe(receiver.url)
            attempts = post.until_over()
        finally:
            stopping.set()
            connection.publish(WEBHOOKS_DUE, "")  # ends its wait for a message
            listener.join()

    assert [a.status_code for a in attempts] == [200]


def test_later_delivery_needs_no_announcement(post, connection):
    """A courier without work waits no longer than until the next delivery is due."""
    with running_receiver() as receiver:
        post.owe(receiver.url)
        connection.zadd(WEBHOOKS_DUE, {"p": time.time() * 1000 + 1000})
        with post.courier(rest_s=1e6):
            assert [a.status_code for a in post.until_over()] == [200]


def test_delivery_is_given_up_after_retries(post):
    """After three failures the delivery is given up, and all three are in the history."""
    with running_receiver(status(503)) as receiver, post.courier():
        post.owe(receiver.url)

        assert [a.status_code for a in post.until_over()] == [503] * 3


def test_redirect_is_not_followed(post):
    """A 301 is a failure like any other. The target gets no request."""
    with running_receiver() as elsewhere:
        moved = status(301, Location=elsewhere.url)
        with running_receiver(moved, status(200)) as receiver, post.courier():
            post.owe(receiver.url)

            assert [a.status_code for a in post.until_over()] == [301, 200]
        assert elsewhere.calls == []


def test_410_ends_delivery(post):
    """A receiver that answers 410 is called once."""
    with running_receiver(status(410)) as receiver, post.courier():
        post.owe(receiver.url)

        assert [a.status_code for a in post.until_over()] == [410]


@pytest.mark.parametrize("bad", [reset, hang, drip(b"HTTP/1.1 200 OK\r\nX-Slow: ")])
def test_timeout_and_reset_have_same_error(hasty, bad):
    """A reset, no answer, and endless headers are failures with the same error."""
    with running_receiver(bad, status(200)) as receiver, hasty.courier():
        hasty.owe(receiver.url)
        first, second = hasty.until_over()

    assert (first.status_code, second.status_code) == (None, 200)
    assert "could not be reached" in first.error


def test_refused_connection_has_same_error(hasty):
    """A refused connection has the same error as every other connection failure."""
    with running_receiver() as receiver:
        url = receiver.url
    with hasty.courier():
        hasty.owe(url)

        assert {a.error for a in hasty.until_over()} == {
            "the receiver could not be reached, or did not answer in time"
        }


def test_status_with_slow_body_acknowledges(hasty):
    """The status counts, however slowly the body arrives."""
    slow = drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    with running_receiver(slow) as receiver, hasty.courier():
        hasty.owe(receiver.url)
        (attempt,) = hasty.until_over()

    assert attempt.status_code == 200
    assert attempt.response.startswith("xx")


def test_large_reply_is_truncated(post):
    """Of a reply of ten megabytes one kilobyte is kept."""
    with running_receiver(status(200, b"y" * 10_000_000)) as receiver, post.courier():
        post.owe(receiver.url)
        (attempt,) = post.until_over()

    assert attempt.response == "y" * 1024


def test_slow_receiver_delays_only_its_own(connection):
    """If more deliveries wait for one receiver than may run at once, another receiver is called meanwhile."""
    post = Post(connection, within_s=600)
    with running_receiver(hang) as slow, running_receiver() as quick, post.courier():
        for k in range(3 * CONCURRENT_PER_RECEIVER):
            post.owe(slow.url, f"slow-{k}")
        eventually(lambda: len(slow.calls) == CONCURRENT_PER_RECEIVER)
        post.owe(quick.url, "quick")
        eventually(lambda: quick.calls)

        assert len(slow.calls) == CONCURRENT_PER_RECEIVER
        slow.released.set()


def test_couriers_share_deliveries(post):
    """Two couriers send each delivery once."""
    with running_receiver() as receiver, post.courier(), post.courier():
        for k in range(30):
            post.owe(receiver.url, f"p{k}")
        eventually(lambda: post.due() == 0)

    assert len(receiver.calls) == 30
    assert len({c.headers["webhook-id"] for c in receiver.calls}) == 30


def test_shutdown_releases_deliveries(post):
    """A courier that is shut down releases its deliveries in progress."""
    with running_receiver(hang, status(200)) as receiver:
        with post.courier():
            post.owe(receiver.url)
            eventually(lambda: receiver.calls)
        assert post.due() == 1
        with post.courier():
            assert [a.status_code for a in post.until_over()] == [200]


def test_delivery_of_killed_courier_is_due_again(post):
    """A delivery that was leased and never recorded is due again once the lease has expired."""
    with running_receiver() as receiver:
        post.owe(receiver.url)
        post.outbox.line_up(10)
        assert post.outbox.take().id == "p"
        post.outbox.line_up(10)
        assert post.outbox.take() is None
        make_due(post.connection, "p", WEBHOOKS_DUE)
        with post.courier():
            post.until_over()

    assert len(receiver.calls) == 1


def test_redis_outage_repeats_no_delivery():
    """A delivery that was sent while Redis went down is recorded once it is back."""
    with running_redis() as server, server.connect() as connection:
        post = Post(connection)
        killed = threading.Event()

        def kill_and_answer(handler):
            server.kill()
            killed.set()
            status(200)(handler)

        with running_receiver(kill_and_answer) as receiver, post.courier():
            post.owe(receiver.url)
            assert killed.wait(10)
            server.start()
            eventually(post.attempts)

            assert [a.status_code for a in post.until_over()] == [200]
            assert len(receiver.calls) == 1


def test_cancel_adds_no_delivery(post):
    """A cancel adds nothing to the outbox."""
    webhook = Webhook(url="http://127.0.0.1:1", base="http://klein.test")
    post.store.add(a_prediction(webhook=webhook))
    post.store.change("p", lambda p, now: p.cancel(now))

    assert post.due() == 0
    with pytest.raises(UnknownWebhook):
        post.outbox.get("key", "p")


def test_delivery_is_deleted_with_prediction(post, connection):
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


def test_manual_redelivery(post):
    """A manual redelivery is sent once more, whatever the result before."""
    with running_receiver(status(410), status(200)) as receiver, post.courier():
        post.owe(receiver.url)
        post.until_over()
        post.outbox.redeliver("key", "p")

        assert [a.status_code for a in post.until_over()] == [410, 200]


def test_another_keys_delivery_is_unknown(post):
    """Another key's delivery is unknown."""
    post.owe("http://127.0.0.1:1")

    assert post.outbox.history("key", offset=0, limit=5).total == 1
    assert post.outbox.history("other", offset=0, limit=5).deliveries == []
    with pytest.raises(UnknownWebhook):
        post.outbox.get("other", "p")
