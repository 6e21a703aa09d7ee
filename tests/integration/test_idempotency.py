"""A request that is repeated with its idempotency key creates no second prediction, on a real Redis and real files."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest
import redis

from app.predictions import scripts
from app.predictions.errors import IdempotencyKeyReused
from app.predictions.intake import IDEMPOTENCY_KEPT
from app.predictions.prediction import Idempotency
from app.predictions.redis_keys import OPEN
from tests.support.fakes import a_prediction, a_store, edited
from tests.support.faulty_proxy import lossy_network
from tests.support.redis_server import running_redis

QUEUE = "rq:queue:klein-distilled"
IDEMPOTENCY = Idempotency(key="word", fingerprint="a red house")
REDIS_KEY = "klein:idempotency:key:word"
EQUAL_REQUESTS = 20


def add_twins(connection):
    """Add the same request many times at once. Return the ids that the callers got."""
    start = Barrier(EQUAL_REQUESTS)

    def add(number):
        start.wait()
        return a_store(connection).add(a_prediction(f"p{number}", idempotency=IDEMPOTENCY)).id

    with ThreadPoolExecutor(EQUAL_REQUESTS) as threads:
        return set(threads.map(add, range(EQUAL_REQUESTS)))


def test_equal_requests_make_one_prediction(connection):
    """Of twenty equal requests at once, one is accepted, and all callers get its id."""
    ids = add_twins(connection)

    assert len(ids) == 1
    assert {i.decode() for i in connection.zrange(OPEN, 0, -1)} == ids
    assert connection.llen(QUEUE) == 1
    assert len(connection.keys("klein:prediction:*")) == 1


def test_without_idempotency_check_equal_requests_make_many(connection, monkeypatch):
    """A script that does not check the idempotency key accepts every request, so the test above can fail."""
    blind = edited(scripts.ADD, "if first and", "if false and")
    monkeypatch.setattr(scripts, "ADD", blind)  # a mutant needs patching

    assert len(add_twins(connection)) == EQUAL_REQUESTS


def test_idempotency_key_with_another_request_is_refused(connection):
    """The same idempotency key with another request raises, before the transaction and in it, and leaves nothing."""
    store = a_store(connection)
    store.add(a_prediction("first", idempotency=IDEMPOTENCY))
    other = replace(IDEMPOTENCY, fingerprint="a blue house")
    with pytest.raises(IdempotencyKeyReused):
        store.find_repeated("key", other)
    with pytest.raises(IdempotencyKeyReused):
        store.add(a_prediction("second", idempotency=other))

    assert connection.llen(QUEUE) == 1
    assert connection.exists("klein:prediction:second") == 0


def test_idempotency_keys_are_separate_per_api_key(connection):
    """Two callers can use the same idempotency key."""
    store = a_store(connection)
    mine = store.add(a_prediction("mine", idempotency=IDEMPOTENCY))
    theirs = store.add(a_prediction("theirs", key_id="another", idempotency=IDEMPOTENCY))

    assert (mine.id, theirs.id) == ("mine", "theirs")
    assert store.find_repeated("another", IDEMPOTENCY) == theirs


def test_idempotency_key_expires_after_a_day(connection):
    """The idempotency key expires after a day on Redis's clock, or earlier with its record."""
    store = a_store(connection, retention=timedelta(0))
    store.add(a_prediction(idempotency=IDEMPOTENCY))
    left_ms = connection.pttl(REDIS_KEY)
    store.delete(store.change("p", lambda p, now: p.cancel(now)))

    day_ms = IDEMPOTENCY_KEPT.total_seconds() * 1000
    assert day_ms - 60_000 < left_ms <= day_ms
    assert store.find_repeated("key", IDEMPOTENCY) is None


def test_idempotency_key_survives_redis_restart(tmp_path):
    """After kill -9 of Redis the idempotency key still names its prediction, and still for a day."""
    with running_redis() as server, server.connect() as connection:
        store = a_store(connection)
        store.add(a_prediction(idempotency=IDEMPOTENCY))
        server.kill()
        server.start()

        assert store.add(a_prediction("again", idempotency=IDEMPOTENCY)).id == "p"
        assert connection.pttl(REDIS_KEY) > 0
        assert connection.zcard(OPEN) == 1


def test_lost_reply_makes_no_second_prediction(redis_server, connection):
    """If the client repeats the script because its reply was lost, the caller gets the id that was accepted."""
    path = Path(redis_server.socket).with_name("lossy-word.sock")
    with lossy_network(redis_server.socket, path) as network:
        network.lose_reply_to(b"klein:history:")
        with redis.Redis(unix_socket_path=str(path)) as lossy:
            accepted = a_store(lossy).add(a_prediction(idempotency=IDEMPOTENCY))

    assert network.lost == 1
    assert accepted.id == "p"
    assert connection.zrange(OPEN, 0, -1) == [b"p"]
