"""Limits of the webhooks of one key on a real Redis."""

import pytest

from app.predictions.errors import TooManyRequests
from app.predictions.open_deliveries import OpenDeliveries
from app.predictions.redis_keys import WEBHOOKS_DUE, delivery_key
from app.webhooks.delivery import DeliveryAttempt
from app.webhooks.outbox import REDELIVERIES_PER_MINUTE
from tests.support.courier import Post
from tests.support.fakes import NOW
from tests.support.webhook_receiver import running_receiver

URL = "http://127.0.0.1:1/"


@pytest.fixture
def post(connection):
    return Post(connection)


def test_open_deliveries_are_limited(post, connection):
    """A key with as many undelivered webhooks as it may have is refused another, by name, until one has been delivered."""
    limit = OpenDeliveries(connection, 2)
    with running_receiver() as receiver:
        post.owe(URL, "p")
        limit.check("key")
        post.owe(receiver.url, "q")
        with pytest.raises(TooManyRequests, match="has 2 webhooks that are not delivered"):
            limit.check("key")
        limit.check("other")
        with post.courier():
            post.until_over("q")

        limit.check("key")


def test_delivery_of_older_klein_is_not_open(post, connection):
    """What an older klein has delivered does not count against its key."""
    post.owe(URL)
    connection.zrem(WEBHOOKS_DUE, "p")  # an older klein does no more at the end

    OpenDeliveries(connection, 1).check("key")


def test_deleted_delivery_is_not_open(post, connection):
    """The webhook of a deleted prediction does not count against its key."""
    post.owe(URL)
    post.store.delete(post.store.get("p"))

    OpenDeliveries(connection, 1).check("key")
    assert connection.scard("klein:webhooks:of:key:open") == 0


def test_redelivery_has_rate(post):
    """A key may redeliver some webhooks a minute. One more is refused, says when to try again, and changes nothing."""
    post.owe(URL)
    for _ in range(REDELIVERIES_PER_MINUTE):
        post.outbox.redeliver("key", "p")
    before = post.connection.get(delivery_key("p"))

    with pytest.raises(TooManyRequests, match="redeliver 60 webhooks a minute") as refused:
        post.outbox.redeliver("key", "p")
    assert 0 < refused.value.retry_after_s <= 60
    assert post.connection.get(delivery_key("p")) == before


def test_record_does_not_grow_with_redeliveries(post):
    """600 attempts with a reply of one kilobyte each leave a record of fifty."""
    post.owe(URL)
    prediction = post.store.get("p")
    for _ in range(600):
        post.outbox.record(
            prediction, DeliveryAttempt(at=NOW, status_code=500, response="x" * 1024)
        )

    assert post.connection.strlen(delivery_key("p")) < 60_000
    assert len(post.attempts()) == 50
