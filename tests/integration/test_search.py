"""The search of a key's predictions on a real Redis."""

from datetime import UTC, datetime, timedelta

import pytest

from app.predictions.history import PART, History
from tests.support.fakes import a_prediction, a_store

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(connection):
    connection.config_set("appendfsync", "no")
    return a_store(connection)


@pytest.fixture
def search(connection, store):
    return History(connection, store)


def add(store, *names, at=START):
    """Add predictions with these ids and prompts, a second apart."""
    for number, name in enumerate(names):
        created_at = at + timedelta(seconds=number)
        store.add(a_prediction(name, created_at=created_at, input={"prompt": name}))


def pages(search, limit, matches=lambda _: True, **options):
    """Read all pages and return the ids of each."""
    found, after = [], None
    while True:
        page = search.find("key", matches=matches, after=after, limit=limit, **options)
        found.append([p.id for p in page.predictions])
        after = page.rest
        if after is None:
            return found


def test_pages_have_each_prediction_once(store, search):
    """The pages contain every prediction once, newest first, and the last one says that it is the last."""
    add(store, *"abcdefg")

    assert pages(search, 3) == [["g", "f", "e"], ["d", "c", "b"], ["a"]]
    assert pages(search, 7) == [[*"gfedcba"]]
    assert search.find("other", matches=lambda _: True, after=None, limit=3).predictions == []


def test_a_search_reads_on_until_its_page_is_full(store, search):
    """Matches that are further apart than one read are on one page."""
    add(store, *(f"{k:03}" for k in range(2 * PART + 10)))

    assert pages(search, 2, lambda p: p.id in {"000", "105", "209"}) == [["209", "105"], ["000"]]


def test_a_search_that_reads_too_much_continues_later(store, search):
    """A search stops after `max_read` records, and its rest is where it stopped."""
    add(store, *"abcdefg")

    assert pages(search, 2, lambda p: p.id == "a", max_read=3) == [[], [], ["a"]]


def test_pages_do_not_shift(store, search):
    """New and deleted predictions between two pages neither repeat nor hide others."""
    add(store, *"abcdef")
    first = search.find("key", matches=lambda _: True, after=None, limit=3)
    add(store, "new", at=START + timedelta(hours=1))
    store.delete(store.get("e"))

    def following():
        rest = search.find("key", matches=lambda _: True, after=first.rest, limit=3)
        return [p.id for p in rest.predictions]

    assert [p.id for p in first.predictions] == ["f", "e", "d"]
    assert following() == ["c", "b", "a"]
    store.delete(store.get("d"))  # where the first page ended
    assert following() == ["c", "b", "a"]
