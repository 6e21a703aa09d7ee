"""The claim that the script which takes a prediction writes: what `Prediction.claim` decides, or nothing."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.clock import Clock
from app.predictions.errors import UnreadableRecord
from app.predictions.failure import Cause, Failure
from app.predictions.first_claim import apply_claim, first_claim
from app.predictions.prediction import Status, Timeouts, Webhook
from app.predictions.record_reader import RECORDS
from app.predictions.redis_keys import OPEN, record_key
from app.predictions.webhook_event import WebhookEvent
from tests.support.fakes import a_prediction, a_store, end_gap

KIND = CheckpointKind.DISTILLED
WEBHOOK = Webhook(url="https://a.test", secret="s" * 32, base="https://b.test")
TIMEOUTS = Timeouts(queue=timedelta(hours=1), run=timedelta(minutes=10))


@pytest.fixture
def store(connection):
    return a_store(connection)


def take(store):
    """Take the next prediction. Return it if it was claimed."""
    return store.take_next(KIND, "owner").claimed


texts = st.one_of(
    st.text(max_size=20), st.sampled_from(['"status":', ',"attempt":1}', "}", '\\"events":"'])
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    prompt=texts,
    negative=texts,
    notes=st.lists(texts, max_size=2),
    webhook=st.sampled_from([None, WEBHOOK]),
    timeouts=st.sampled_from([None, TIMEOUTS]),
    forgets=st.booleans(),
)
def test_claim_is_that_of_prediction(  # noqa: PLR0913 -- drawn by name
    connection, prompt, negative, notes, webhook, timeouts, forgets
):
    """Whatever a caller wrote, a new prediction is claimed in one step, and its record is what its own claim makes of it."""
    connection.flushall()
    store = a_store(connection)
    now = Clock(connection).now()
    before = a_prediction(
        input={"prompt": f"a{prompt}", "negative_prompt": negative},
        created_at=now,
        notes=tuple(notes),
        webhook=webhook,
        timeouts=timeouts,
        forgets_prompt=forgets,
    )
    store.add(before)

    claimed = take(store)

    assert claimed == store.get("p")
    assert claimed == before.claim("owner", claimed.started_at)
    assert connection.zscore(OPEN, "p") == pytest.approx(
        claimed.lease_until.timestamp() * 1000, abs=1
    )


@given(
    owner=st.text("0123456789abcdef", min_size=1, max_size=16),
    now=st.datetimes(datetime(2026, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 -- the zone is beside them
)
def test_claim_names_owner_and_times(owner, now):
    """The claim of any owner at any time, with and without parts of a second, is what a record of that claim ends with."""
    before = a_prediction(created_at=now)
    claimed = before.claim(owner, now)

    record = apply_claim(RECORDS.write(before), first_claim(owner, now))
    assert record == RECORDS.write(claimed)
    assert first_claim(owner, now).lease_until == claimed.lease_until


def given_back(store):
    store.change("p", lambda p, now: p.claim("other", now))
    store.change("p", lambda p, now: p.release("other", now))


def failed_once(store):
    store.change("p", lambda p, now: p.claim("other", now))
    store.change("p", lambda p, now: p.retry("other", "it died", now))
    end_gap(store, "p")


def running_elsewhere(store):
    store.change("p", lambda p, now: p.claim("other", now))


@pytest.mark.parametrize("happen", [given_back, failed_once, running_elsewhere])
def test_changed_prediction_is_not_claimed(store, connection, happen):
    """One that had an attempt before is left to `Prediction.claim`."""
    store.add(a_prediction())
    happen(store)
    before = connection.get(record_key("p"))

    assert take(store) is None
    assert connection.get(record_key("p")) == before


FAILURE = Failure(cause=Cause.INPUT_UNREACHABLE, message="gone")
TOLD = replace(WEBHOOK, events=(WebhookEvent.START, WebhookEvent.COMPLETED))


@pytest.mark.parametrize("values", [{"known_failure": FAILURE}, {"webhook": TOLD}])
def test_claim_with_consequences_is_left(store, values):
    """One whose failure is known, or which sends a webhook at its start, is left to `Prediction.claim`."""
    store.add(a_prediction(**values))

    assert take(store) is None
    assert store.get("p").status is Status.QUEUED


def test_overdue_prediction_is_left(store, connection):
    """One that is past its queue timeout is left to `Prediction.claim`, which fails it."""
    now = Clock(connection).now()
    store.add(a_prediction(created_at=now - TIMEOUTS.queue, timeouts=TIMEOUTS))

    assert take(store) is None
    assert store.change("p", lambda p, now: p.claim("owner", now)).status is Status.FAILED


def test_fields_of_newer_version_are_kept(store, connection):
    """A record with fields and a form that this version does not write is claimed and keeps them."""
    store.add(a_prediction())
    record = json.loads(connection.get(record_key("p"))) | {"novelty": [1]}
    connection.set(record_key("p"), json.dumps(record))
    claimed = take(store)
    ended = store.change("p", lambda p, now: p.succeed("owner", (), (), now))

    assert claimed.status is Status.RUNNING
    assert (json.loads(connection.get(record_key("p")))["novelty"], ended.status) == (
        [1],
        Status.SUCCEEDED,
    )


def test_unreadable_record_is_left_as_it_was(store, connection):
    """A record of a model that this version does not know costs no attempt: a newer version may run it."""
    store.add(a_prediction())
    record = json.loads(connection.get(record_key("p"))) | {"model": "newer"}
    connection.set(record_key("p"), json.dumps(record))

    assert take(store) is None
    assert json.loads(connection.get(record_key("p"))) == record
    with pytest.raises(UnreadableRecord):
        store.get("p")


def test_claimed_prediction_is_known(store, connection):
    """The first change after the claim reads nothing."""
    store.add(a_prediction())
    take(store)
    connection.config_resetstat()
    store.change("p", lambda p, _now: p.advance("owner", 1, 4))

    assert connection.info("commandstats")["cmdstat_evalsha"]["calls"] == 1
