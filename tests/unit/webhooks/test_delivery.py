"""Tests of when a delivery is retried, and when it ends."""

from datetime import timedelta

import pytest

from app.predictions.prediction import Webhook
from app.webhooks.delivery import MAX_KEPT_ATTEMPTS, SCHEDULES, DeliveryAttempt, first_delivery
from tests.support.fakes import NOW, a_prediction

HOSTED = SCHEDULES["hosted"]
WEBHOOK = Webhook(url="https://x.test", base="https://klein.test")
DELIVERY = first_delivery(a_prediction(webhook=WEBHOOK).claim("a", NOW).succeed("a", (), (), NOW))


def tried(*codes):
    delivery = DELIVERY
    for code in codes:
        delivery = delivery.with_attempt(DeliveryAttempt(at=NOW, status_code=code))
    return delivery


def pauses_until_given_up(schedule):
    delivery, pauses = DELIVERY, []
    while (pause := delivery.pause(schedule)) is not None:
        pauses.append(pause)
        delivery = delivery.with_attempt(DeliveryAttempt(at=NOW))
    return pauses


def test_hosted_retry_schedule():
    """The hosted schedule has three attempts, ten seconds apart."""
    assert [p.total_seconds() for p in pauses_until_given_up(HOSTED)] == [0, 10, 10]


def test_long_retry_schedule():
    """The long schedule is that of Standard Webhooks: growing pauses of up to a day, over more than three days."""
    pauses = pauses_until_given_up(SCHEDULES["long"])

    assert pauses == sorted(pauses)
    assert (len(pauses), pauses[-1]) == (10, timedelta(days=1))
    assert sum(pauses, timedelta()) == timedelta(hours=75, minutes=35, seconds=5)


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_any_2xx_acknowledges(code):
    """A delivery with a 2xx response is finished."""
    assert tried(500, code).pause(HOSTED) is None


@pytest.mark.parametrize("code", [None, 100, 301, 304, 400, 404, 429, 500, 503])
def test_failed_attempt_is_retried(code):
    """A redirect, an error or no response leads to a retry."""
    assert tried(code).pause(HOSTED) == timedelta(seconds=10)


def test_410_ends_delivery():
    """A 410 ends the delivery without a retry."""
    assert tried(410).pause(SCHEDULES["long"]) is None


def test_redelivery_starts_new_round():
    """A redelivery starts at once with all its attempts, and keeps the earlier ones."""
    again = tried(500, 500, 500).restarted()

    assert again.pause(HOSTED) == timedelta()
    assert again.with_attempt(DeliveryAttempt(at=NOW)).pause(HOSTED) == timedelta(seconds=10)
    assert len(again.attempts) == 3


def test_record_keeps_last_attempts():
    """A record keeps the last fifty attempts of all rounds, and each round still has all of its attempts."""
    delivery = DELIVERY
    for _ in range(100):
        for number in range(10):
            assert delivery.pause(SCHEDULES["long"]) == (timedelta(), *SCHEDULES["long"])[number]
            delivery = delivery.with_attempt(DeliveryAttempt(at=NOW, status_code=500))
        assert delivery.pause(SCHEDULES["long"]) is None
        delivery = delivery.restarted()

    assert len(delivery.attempts) == MAX_KEPT_ATTEMPTS == 50


def test_which_predictions_have_deliveries():
    """A success has a webhook to send. A running or cancelled prediction, or one without a webhook URL, has none."""
    running = a_prediction(webhook=WEBHOOK).claim("a", NOW)

    assert running.succeed("a", (), (), NOW).needs_webhook
    assert not running.needs_webhook
    assert not running.cancel(NOW).needs_webhook
    assert not a_prediction().claim("a", NOW).succeed("a", (), (), NOW).needs_webhook


def test_secret_is_not_printed():
    """The repr of a prediction, which may be logged, does not contain the webhook secret."""
    webhook = Webhook(url="https://x.test", secret="hush", base="https://klein.test")

    assert "hush" not in repr(a_prediction(webhook=webhook))
