"""What a webhook's receiver is told of each transition, and when."""

from datetime import timedelta

import pytest

from app.predictions.failure import Cause, Failure
from app.predictions.prediction import Webhook
from app.predictions.webhook_due import LOGS_GAP, owes_start, webhook_due
from app.predictions.webhook_event import WebhookEvent
from tests.support.fakes import NOW, a_prediction

START, OUTPUT, LOGS, COMPLETED = WebhookEvent
FAILURE = Failure(cause=Cause.ENGINE, message="no image")


def told(*events, on_cancel=True):
    """Return which of five transitions are told at once (`now`), later, or never (None)."""
    webhook = Webhook(url="https://a.test", base="https://b.test", events=events, on_cancel=on_cancel)  # fmt: skip
    queued = a_prediction(webhook=webhook)
    running = queued.claim("a", NOW)
    changes = {
        "claim": (queued, running),
        "renew": (running, running.renew("a", NOW)),
        "advance": (running, running.advance("a", 1, 4)),
        "succeed": (running, running.succeed("a", (), (), NOW)),
        "fail": (running, running.fail("a", FAILURE, NOW)),
        "cancel": (queued, queued.cancel(NOW)),
    }
    due = {name: webhook_due(*change, NOW) for name, change in changes.items()}
    return {name: at - NOW for name, at in due.items() if at is not None}


AT_ONCE = timedelta()


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((COMPLETED,), {"succeed": AT_ONCE, "fail": AT_ONCE, "cancel": AT_ONCE}),
        ((START,), {"claim": AT_ONCE}),
        ((OUTPUT,), {"succeed": AT_ONCE}),
        ((LOGS,), {"advance": LOGS_GAP, "succeed": AT_ONCE}),
        ((), {}),
    ],
)
def test_each_event_has_its_transitions(events, expected):
    """`logs` waits for its gap, `output` comes with a success, and only `completed` tells other ends."""
    assert told(*events) == expected


def test_cancel_is_told_where_it_is_wanted():
    """Without `on_cancel` a cancel is not told."""
    assert "cancel" not in told(COMPLETED, on_cancel=False)


def test_second_attempt_is_no_start():
    """An attempt after a lost one, or one that was given back, is not told again."""
    webhook = Webhook(url="https://a.test", base="https://b.test", events=(START,))
    first = a_prediction(webhook=webhook).claim("a", NOW)
    for queued in (first.release("a", NOW), first.retry("a", "lost", NOW)):
        again = queued.claim("b", NOW + timedelta(minutes=1))
        assert not owes_start(queued, again)
