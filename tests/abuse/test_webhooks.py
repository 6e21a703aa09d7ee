"""Webhooks of an attacker, to a receiver that never answers and to one that counts, beside those of a victim."""

import itertools
import re
import time

import pytest

from app.webhooks.slots import CONCURRENT_PER_RECEIVER
from tests.abuse.parts import ATTACKER, SECOND_ATTACKER, VICTIM, running_parts
from tests.support.api_client import order, until
from tests.support.silent_host import silent_hosts
from tests.support.webhook_receiver import running_receiver

MAX_OPEN = 48
PER_MINUTE = 30
BURST = PER_MINUTE // 10 + CONCURRENT_PER_RECEIVER
NAMES = ("".join(part) for part in itertools.product("lL", "oO", "cC", "aA", ("lhost", "lHOST")))
SPELLINGS = [spelling for name in NAMES for spelling in (name, "127.0.0.1")]


@pytest.fixture(scope="module")
def limited():
    """A system in which a key may have 48 undelivered webhooks and send 30 a minute."""
    settings = {
        "KLEIN_ALLOW_HOSTS": "127.0.0.1,localhost",
        "KLEIN_KEY_OPEN_WEBHOOKS": str(MAX_OPEN),
        "KLEIN_KEY_WEBHOOKS_PER_MINUTE": str(PER_MINUTE),
    }
    with running_parts(**settings) as running:
        yield running


def create(client, url=None, **headers):
    """Create a prediction that fails at once, or with no headers one that succeeds."""
    body = order() | ({"webhook_url": url} if url else {})
    return client.post("/v1/prediction", json=body, headers=headers)


def test_silent_receiver_takes_nothing_from_victim(limited):
    """A key fills its undelivered webhooks with many spellings of one silent host. It gets the slots of one receiver and no
    further webhooks. Only that key is refused, and the webhook of another key is delivered.
    """
    with (
        silent_hosts(1) as (silent,),
        running_receiver() as receiver,
        limited.client(ATTACKER) as attacker,
        limited.client(VICTIM) as victim,
    ):
        hosts = itertools.cycle(SPELLINGS)
        answers = [
            create(attacker, f"http://{next(hosts)}:{silent.port}/") for _ in range(MAX_OPEN + 9)
        ]
        until(lambda: silent.count_open() >= CONCURRENT_PER_RECEIVER, 60)
        refused = until(
            lambda: (
                (answer := create(attacker, f"http://{next(hosts)}:{silent.port}/")).status_code
                == 429
                and answer
            ),
            120,
        )
        assert create(attacker).status_code == 200
        assert create(victim, receiver.url).status_code == 200
        until(lambda: receiver.calls, 60)

        assert silent.count_open() <= CONCURRENT_PER_RECEIVER
        assert answers[0].status_code == 200
        assert re.search(rf"has {MAX_OPEN} webhooks that are not delivered", refused.text)
        assert int(refused.headers["Retry-After"]) >= 1


def test_failed_creates_are_no_cannon(limited):
    """Creates that fail at once send as many requests to a stranger as the rate of the key allows. The webhook of another key
    is sent meanwhile.
    """
    with (
        running_receiver() as target,
        running_receiver() as receiver,
        limited.client(SECOND_ATTACKER) as attacker,
        limited.client(VICTIM) as victim,
    ):
        began_s = time.monotonic()
        for _ in range(MAX_OPEN - 1):
            create(attacker, target.url, **{"X-Queue-Timeout": "0.001"})
        assert create(victim, receiver.url).status_code == 200
        until(lambda: receiver.calls, 60)
        until(lambda: target.calls, 60)
        sent = len(target.calls)
        elapsed_s = time.monotonic() - began_s

        assert sent <= BURST + elapsed_s * PER_MINUTE / 60
