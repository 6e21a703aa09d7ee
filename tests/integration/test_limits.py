"""The limits and the spending of a key, counted on a real Redis for any number of concurrent callers."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from fastapi.testclient import TestClient

from app.keys import KeyRing
from app.main import create_app
from app.predictions import scripts
from app.predictions.accounts import Limits, Terms, spent_key
from app.predictions.errors import BudgetSpent, TooManyRequests, UnknownPrediction
from app.predictions.failure import Cause, Failure
from app.predictions.prediction import Output, Status
from app.predictions.rates import Rates
from app.predictions.redis_keys import record_key
from app.settings import Settings
from tests.support.fakes import a_prediction, a_store, edited

QUEUE = "rq:queue:klein-distilled"
MEGAPIXEL = (Output(key="p/a/0.png", width=1000, height=1000),)  # a thousandth of a dollar
FAILURE = Failure(cause=Cause.ENGINE, message="no image")


@pytest.fixture
def store(connection):
    return a_store(connection)


def terms(queue_limit=None, cost=0.001, **limits):
    return Terms(limits=Limits(**limits), queue_limit=queue_limit, cost=cost)


def try_to_add(store, prediction_id, terms, **values):
    """Add a prediction. Return whether it was accepted."""
    try:
        store.add(
            a_prediction(prediction_id, **({"created_at": datetime.now(UTC)} | values)), terms
        )
    except (TooManyRequests, BudgetSpent):
        return False
    return True


def accepted(redis_server, asks, **terms_given):
    """Count how many of many concurrent creates, each on a connection of its own, are accepted."""
    start = Barrier(asks)

    def ask(number):
        with redis_server.connect() as own_connection:
            start.wait()
            return try_to_add(a_store(own_connection), f"p{number}", terms(**terms_given))

    with ThreadPoolExecutor(asks) as threads:
        return sum(threads.map(ask, range(asks)))


def end(store, prediction_id="p", outputs=MEGAPIXEL):
    store.change(prediction_id, lambda p, now: p.claim("a", now))
    store.change(prediction_id, lambda p, now: p.succeed("a", outputs, (), now))


def spent(connection, now=None):
    return KeyRing(connection, frozenset()).account("key", now or datetime.now(UTC)).spent_dollars


@pytest.mark.parametrize(
    "limit", [{"in_flight": 5}, {"queue_limit": 5, "in_flight": 9}, {"dollars_per_month": 0.005}]
)
def test_concurrent_creates_respect_limit(redis_server, connection, limit):
    """Of twenty creates at once a limit of five accepts five. The others leave no trace."""
    assert accepted(redis_server, 20, **limit) == 5
    assert connection.zcard("klein:open") == connection.hlen("klein:held:key") == 5
    assert len(connection.keys("klein:prediction:*")) == connection.zcard("klein:history:key") == 5
    assert connection.llen(QUEUE) == connection.zcard("klein:line:distilled:key") == 5


@pytest.mark.parametrize(
    "limit", [{"in_flight": 5}, {"queue_limit": 5, "in_flight": 9}, {"dollars_per_month": 0.005}]
)
def test_without_limit_check_all_are_accepted(redis_server, connection, limit, monkeypatch):
    """A script that does not check the limits accepts all twenty, so the test above can fail."""
    blind = edited(scripts.ADD, "if refused ~= ''", "if false")
    monkeypatch.setattr(scripts, "ADD", blind)  # a mutant needs patching

    assert accepted(redis_server, 20, **limit) == 20


def test_end_frees_limit(store):
    """Success, failure and cancel each free a place of the key and of the queue."""
    limited = terms(in_flight=1, queue_limit=1)
    ends = {
        "won": end,
        "lost": lambda s, i: (
            s.change(i, lambda p, now: p.claim("a", now))
            and s.change(i, lambda p, now: p.fail("a", FAILURE, now))
        ),
        "gone": lambda s, i: s.change(i, lambda p, now: p.cancel(now)),
    }
    for prediction_id, finish in ends.items():
        assert try_to_add(store, prediction_id, limited)
        assert not try_to_add(store, "more", limited)
        finish(store, prediction_id)

    assert try_to_add(store, "more", limited)


def test_limits_are_separate_per_key(store):
    """The open predictions and spending of one key do not count for another. The queue is shared."""
    assert try_to_add(store, "mine", terms(in_flight=1, dollars_per_month=0.001))
    assert try_to_add(store, "theirs", terms(in_flight=1, dollars_per_month=0.001), key_id="b")
    assert not try_to_add(store, "more", terms(queue_limit=2), key_id="c")


def test_only_success_is_charged_once(store, connection):
    """One megapixel costs a thousandth of a dollar. Failures, cancels and repeated ends cost nothing."""
    for prediction_id in ("won", "lost", "gone"):
        store.add(a_prediction(prediction_id), terms())
    for _ in range(2):  # sent again after a lost reply
        store.change("won", lambda p, now: p if p.status.is_final else p.claim("a", now))
        store.change("won", lambda p, now: p.succeed("a", MEGAPIXEL, (), now))
    store.change("lost", lambda p, now: p.claim("a", now))
    store.change("lost", lambda p, now: p.fail("a", FAILURE, now))
    store.change("gone", lambda p, now: p.cancel(now))

    assert spent(connection) == 0.001
    assert connection.hlen("klein:held:key") == 0


def test_concurrent_ends_are_charged_once(store, connection, redis_server):
    """If ten callers write the same end at once, one is charged."""
    store.add(a_prediction(), terms())
    store.change("p", lambda p, now: p.claim("a", now))
    start = Barrier(10)

    def finish(_number):
        with redis_server.connect() as own_connection:
            start.wait()
            a_store(own_connection).change("p", lambda p, now: p.succeed("a", MEGAPIXEL, (), now))

    with ThreadPoolExecutor(10) as threads:
        list(threads.map(finish, range(10)))

    assert store.get("p").status is Status.SUCCEEDED
    assert spent(connection) == 0.001


def test_budget_counts_open_predictions(store):
    """Three thousandths of a dollar are enough for two ended and one open megapixel, but not for a fourth."""
    budget = terms(dollars_per_month=0.003)
    for prediction_id in ("a", "b"):
        assert try_to_add(store, prediction_id, budget)
        end(store, prediction_id)
    assert try_to_add(store, "c", budget)
    with pytest.raises(BudgetSpent, match=r"\$0.003 a month") as refused:
        store.check("key", budget, datetime.now(UTC))
    assert not try_to_add(store, "d", budget)
    store.change("c", lambda p, now: p.cancel(now))

    assert 0 < refused.value.retry_after_s <= 31 * 86400
    assert try_to_add(store, "d", budget)


def test_budget_check_reads_no_other_prediction(store, connection):
    """With a budget, the cost of a check does not grow with the key's open predictions."""
    budget = terms(dollars_per_month=1)
    for number in range(20):
        assert try_to_add(store, str(number), budget)
    connection.config_resetstat()
    store.check("key", budget, datetime.now(UTC))

    assert "cmdstat_hvals" not in connection.info("commandstats")
    assert int(connection.hget(spent_key("key"), "reserved")) == 20 * 1_000_000


def test_sum_of_reserved_costs_follows_every_change(store, connection):
    """The sum equals what is held after accepts, refusals, repeats and ends, also of predictions accepted without a budget."""
    assert try_to_add(store, "before", terms())
    budget = terms(dollars_per_month=0.004)
    for prediction_id in ("a", "b", "b", "c"):
        assert try_to_add(store, prediction_id, budget)
    assert not try_to_add(store, "d", budget)
    assert try_to_add(store, "e", terms(dollars_per_month=1))
    end(store, "a")
    store.change("b", lambda p, now: p.cancel(now))

    held = connection.hgetall("klein:held:key")
    assert sorted(held) == [b"before", b"c", b"e"]
    assert int(connection.hget(spent_key("key"), "reserved")) == sum(map(int, held.values()))
    for prediction_id in ("before", "c", "e"):
        store.change(prediction_id, lambda p, now: p.cancel(now))
    assert connection.hget(spent_key("key"), "reserved") == b"0"


@pytest.mark.parametrize("limit", [{"in_flight": 2}, {"dollars_per_month": 0.002}], ids=str)
def test_lost_predictions_hold_no_budget(store, connection, limit):
    """What a key holds for predictions that Redis has lost is released when it refuses a request."""
    limits = terms(**limit)
    for prediction_id in ("a", "b"):
        assert try_to_add(store, prediction_id, limits)
    for prediction_id in ("a", "b"):  # as an eviction, and then the next check
        connection.delete(record_key(prediction_id))
        store.forget(prediction_id)

    assert not try_to_add(store, "c", limits)
    assert try_to_add(store, "c", limits)


def test_budget_restarts_each_month(store, connection):
    """Spending in another month does not count against this month's budget."""
    connection.hset(spent_key("key"), "2025-12", 10**12)
    budget = terms(dollars_per_month=0.001)

    assert try_to_add(store, "p", budget)
    assert not try_to_add(store, "q", budget, created_at=datetime(2025, 12, 31, tzinfo=UTC))


def test_repeated_accept_is_not_refused(store):
    """An accept that is repeated because its reply was lost is the same prediction, even at the limit."""
    one = terms(in_flight=1)

    assert try_to_add(store, "p", one)
    assert try_to_add(store, "p", one)


def test_refused_prediction_has_no_record(store):
    """A refused prediction has no record."""
    store.add(a_prediction("p"), terms(in_flight=1))
    assert not try_to_add(store, "q", terms(in_flight=1))

    with pytest.raises(UnknownPrediction):
        store.get("q")


def test_retry_after_follows_rate_of_ends(store):
    """With thirty ends in the last minute a place becomes free in two seconds. Without any, there is no estimate."""
    full = terms(queue_limit=1)
    store.add(a_prediction("p"), full)
    with pytest.raises(TooManyRequests, match="the queue is full") as unknown:
        store.add(a_prediction("q"), full)
    for number in range(30):
        store.add(a_prediction(str(number)))
        store.change(str(number), lambda p, now: p.cancel(now))
    with pytest.raises(TooManyRequests) as measured:
        store.check("key", full, datetime.now(UTC))

    assert (unknown.value.retry_after_s, measured.value.retry_after_s) == (60, 2)


def test_rate_limit_is_shared_by_processes(redis_server, connection):
    """Of twenty creates at once, each on a connection of its own, a limit of five a minute accepts five."""
    start = Barrier(20)

    def ask(number):
        with redis_server.connect() as own_connection:
            rates = Rates(own_connection)
            start.wait()
            try:
                rates.count("key", 5)
            except TooManyRequests as exc:
                return exc.retry_after_s
            return 0

    with ThreadPoolExecutor(20) as threads:
        waits = list(threads.map(ask, range(20)))

    assert waits.count(0) == 5
    assert all(0 <= wait <= 60 for wait in waits)
    Rates(connection).count("another key", 5)
    Rates(connection).count("key", None)


def test_rate_limit_window_is_one_minute(connection):
    """A key at its limit is told when its oldest create leaves the window of one minute."""
    rates = Rates(connection)
    rates.count("key", 1)
    with pytest.raises(TooManyRequests, match="1 predictions a minute") as refused:
        rates.count("key", 1)

    assert (
        timedelta(seconds=55)
        < timedelta(seconds=refused.value.retry_after_s)
        <= timedelta(minutes=1)
    )


def test_uploads_count_against_rate_limit(redis_server, connection, tmp_path):
    """A key with one create a minute can presign once. Then it is told when to retry."""
    settings = Settings(
        redis_url=redis_server.url,
        data=tmp_path,
        api_keys=("key",),
        key_per_minute=1,
        _env_file=None,
    )
    with TestClient(create_app(settings), headers={"X-API-Key": "key"}) as client:
        first, second = (
            client.post("/v1/upload/presign", json={"content_type": "image/png"}) for _ in range(2)
        )

    assert (first.status_code, second.status_code) == (200, 429)
    assert int(second.headers["Retry-After"]) > 0
