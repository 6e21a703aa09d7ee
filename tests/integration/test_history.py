"""The history of an API key on a real Redis."""

from datetime import timedelta

import pytest

from app.predictions.history import MAX_READ_CHARACTERS, PART, History
from app.predictions.inputs import PROMPT_MAX_LENGTH
from app.predictions.prediction import Status
from app.predictions.redis_keys import record_key
from tests.support.fakes import NOW, a_prediction, a_store


@pytest.fixture
def store(connection):
    store = a_store(connection)
    for number in range(12):
        at = NOW + timedelta(minutes=number)
        store.add(a_prediction(f"{number:02}", created_at=at, key_id="key"))
    store.add(a_prediction("theirs", key_id="another"))
    return store


@pytest.fixture
def page(connection, store):
    """Return a function that reads a page."""

    def read(key_id="key", max_read=100, **values):
        span = {"since": NOW - timedelta(days=1), "until": NOW + timedelta(days=1)}
        history = History(connection, store, max_read)
        return history.page(key_id, **span | {"offset": 0, "limit": 10} | values)

    return read


def ids(listed):
    return [p.id for p in listed.predictions]


def is_cancelled(prediction):
    return prediction.status is Status.CANCELLED


def is_any(_prediction):
    return True


@pytest.mark.parametrize("matches", [None, is_any])
def test_history_is_separate_per_key(page, matches):
    """A key reads its own predictions only, newest first."""
    assert ids(page(limit=3, matches=matches)) == ["11", "10", "09"]
    assert ids(page("another", matches=matches)) == ["theirs"]
    assert ids(page("nobody", matches=matches)) == []


@pytest.mark.parametrize("matches", [None, is_any])
def test_history_pagination(page, matches):
    """Offset and limit select a page of the list. The total counts all matches."""
    listed = page(offset=10, limit=5, matches=matches)

    assert (ids(listed), listed.total, listed.is_capped) == (["01", "00"], 12, False)
    assert ids(page(offset=50, matches=matches)) == []


def test_history_filter(store, page):
    """Only matches are listed and counted, before the list is paginated."""
    for prediction_id in ("04", "07"):
        store.change(prediction_id, lambda p, now: p.cancel(now))

    assert ids(page(matches=is_cancelled, limit=1)) == ["07"]
    assert ids(page(matches=is_cancelled, limit=1, offset=1)) == ["04"]
    assert page(matches=is_cancelled, limit=1).total == 2


@pytest.mark.parametrize("matches", [None, is_any])
def test_history_time_span(page, matches):
    """Both ends of the time span are included, to the millisecond."""
    since, until = NOW + timedelta(minutes=3), NOW + timedelta(minutes=5)

    assert ids(page(since=since, until=until, matches=matches)) == ["05", "04", "03"]
    assert page(since=until, until=since, matches=matches).total == 0


def test_filtered_history_reads_bounded_number_of_records(page):
    """A filter reads a limited number of records, and the page says that there may be more."""
    listed = page(max_read=5, limit=2, matches=is_any)

    assert (ids(listed), listed.total, listed.is_capped) == (["11", "10"], 5, True)
    assert not page(max_read=12, matches=is_any).is_capped


def test_unfiltered_page_reads_only_its_records(connection, page):
    """Whatever the length of the history, as many records are read as the page shows."""
    connection.config_resetstat()
    page(offset=5, limit=2)
    read = connection.info("commandstats")["cmdstat_mget"]

    assert read["calls"] == 1
    assert connection.info("stats")["keyspace_hits"] == 2 + 2  # the records, and the history twice


def test_history_skips_unreadable_record(connection, page):
    """A damaged record in a page costs that record alone."""
    connection.set(record_key("10"), b"{}")

    assert ids(page(limit=3)) == ["11", "09"]


@pytest.mark.parametrize("read", ["page", "find"])
def test_long_prompts_are_read_in_parts(connection, read):
    """A page or a search that matches nothing stops after MAX_READ_CHARACTERS of prompts, and says that there is more."""
    store = a_store(connection)
    count = MAX_READ_CHARACTERS // PROMPT_MAX_LENGTH + PART
    for number in range(count):
        inputs = {"prompt": "x" * PROMPT_MAX_LENGTH}
        store.add(a_prediction(f"long {number}", key_id="long", input=inputs))
    history, seen = History(connection, store), []

    def matches(prediction):
        seen.append(prediction)
        return False

    if read == "page":
        span = {"since": NOW - timedelta(days=1), "until": NOW + timedelta(days=1)}
        has_more = history.page("long", **span, offset=0, limit=10, matches=matches).is_capped
    else:
        has_more = history.find("long", matches=matches, after=None, limit=10).rest is not None

    assert has_more
    assert len(seen) == MAX_READ_CHARACTERS // PROMPT_MAX_LENGTH
