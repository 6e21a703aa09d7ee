"""Each Lua script on a real Redis, and what happens if Redis does not have the script."""

import time
from pathlib import Path
from typing import Any

import pytest

from app.lua.script import LuaScript, execute, load_script
from app.predictions.catalog import MODELS
from app.predictions.prediction import Status
from app.predictions.queue import Queues
from tests.support.fakes import a_prediction, a_store

LUA = Path(__file__).parents[2] / "app" / "lua"
INCLUDED = {"now", "limits"}
SCRIPTS = sorted({path.stem for path in LUA.glob("*.lua")} - INCLUDED)
Values = dict[str, Any]
NO_LIMITS: Values = {
    "month": "2026-01",
    "cost": 0,
    "queue_limit": "",
    "in_flight_limit": "",
    "budget": "",
}
ACCOUNT: Values = {"open": "open", "held": "held", "spent": "spent"}


def now_ms():
    return round(time.time() * 1000)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_is_tested_and_names_its_keys(name):
    """Each script has a test of its name here, and no script reads KEYS or ARGV by number."""
    script = load_script(name)

    assert f"test_{name}" in globals()
    assert "KEYS[" not in script.text
    assert "ARGV[" not in script.text


def test_names_are_checked(connection):
    """A call that omits or invents a key or an argument never reaches Redis."""
    script = load_script("change_upload")
    calls: list[Values] = [
        {"record": "r", "old": ""},
        {"record": "r", "old": "", "new": "", "x": ""},
    ]
    for values in calls:
        with pytest.raises(TypeError, match="record, old, new"):
            script(connection, **values)


@pytest.fixture
def add(connection):
    """Add a prediction `p` with limits."""
    script = load_script("add_prediction")
    fixed: Values = {
        "record": "record",
        "history": "history",
        "idempotency": None,
        "value": "value",
    }
    times: Values = {"created_ms": 5, "due_in_ms": 60_000, "idempotency_kept_ms": 9000}

    def call(**values):
        return script(connection, **ACCOUNT | fixed | times | NO_LIMITS | {"id": "p"} | values)

    return call


def test_add_prediction(connection, add):
    """The record is written once, with its due time, its place in the history and its maximum cost."""
    assert add(cost=7) == [b"p", b""]
    assert add(cost=9, value="again") == [b"p", b""]

    assert connection.get("record") == b"value"
    assert abs(connection.zscore("open", "p") - now_ms() - 60_000) < 30_000
    assert connection.zscore("history", "p") == 5
    assert connection.hgetall("held") == {b"p": b"7"}


def test_add_prediction_with_idempotency_key(connection, add):
    """The first id is kept for a time. Another record with the same idempotency key is not written."""
    assert add(idempotency="key") == [b"p", b""]
    assert add(idempotency="key", id="q", record="other") == [b"p", b""]

    assert 0 < connection.pttl("key") <= 9000
    assert not connection.exists("other")


def test_add_prediction_over_a_limit(connection, add):
    """A refused prediction leaves nothing."""
    connection.zadd("open", {"x": 1})

    assert add(queue_limit=1) == [b"", b"queue"]
    assert connection.keys() == [b"open"]


def test_check_limits(connection):
    """The first limit that is reached is named. A cost counts on top of spent and held amounts."""
    check = load_script("check_limits")

    def refused(**limits):
        return check(connection, **ACCOUNT, **NO_LIMITS | limits)

    assert refused(queue_limit=0) == b"queue"
    assert refused(queue_limit=1, in_flight_limit=0) == b"in_flight"
    connection.hset("spent", "2026-01", 60)
    connection.hset("held", "x", 30)
    assert refused(cost=10, budget=100) == b""
    assert refused(cost=11, budget=100) == b"budget"
    assert refused(cost=11, budget=100, month="2026-02") == b""
    assert refused() == b""


def test_read_prediction(connection):
    """The time is Redis's own. A missing record is None."""
    read = load_script("read_prediction")
    connection.set("record", "value")
    at, value = read(connection, record="record")

    assert abs(at - now_ms()) < 30_000
    assert value == b"value"
    assert read(connection, record="other")[1] is None


@pytest.fixture
def change(connection):
    """Change a record from `old` to `new`, not to its end."""
    script = load_script("change_prediction")
    keys = {"record": "record", "expiry": "expiry", "webhooks_due": "due", "deliveries": "of"}
    fixed: Values = {
        "preview": "preview",
        "old": "old",
        "new": "new",
        "id": "p",
        "channel": "channel",
    }
    times: Values = {"due_ms": 5, "expires_ms": 9, "webhook_due_ms": None, "month": "m", "cost": 0}
    connection.set("record", "old")
    connection.zadd("open", {"p": 1})
    connection.hset("held", "p", 7)
    connection.set("preview", "image")

    def call(**values):
        return script(connection, **ACCOUNT | keys | fixed | times | values)

    return call


def test_change_prediction(connection, change):
    """A change that is not the end moves the due time and is announced."""
    with connection.pubsub() as subscription:
        subscription.subscribe("channel")
        subscription.get_message(timeout=30)
        assert change() == 1
        message = subscription.get_message(timeout=30)

    assert message["data"] == b"p"
    assert connection.get("record") == b"new"
    assert connection.zscore("open", "p") == 5
    assert connection.exists("preview", "held") == 2
    assert connection.exists("expiry", "due") == 0


def test_change_prediction_at_its_end(connection, change):
    """The end frees the held amount, charges the cost, and lists the record for deletion and delivery."""
    assert change(due_ms=None, webhook_due_ms=3, cost=4) == 1

    assert connection.exists("open", "preview", "held") == 0
    assert connection.hgetall("spent") == {b"m": b"4"}
    assert connection.zscore("expiry", "p") == 9
    assert (connection.zscore("due", "p"), connection.zscore("of", "p")) == (3, 3)


def test_change_prediction_that_has_changed(connection, change):
    """A record that no longer equals `old` is not changed."""
    assert change(old="older") == 0
    assert connection.get("record") == b"old"
    assert connection.zscore("open", "p") == 1


def test_store_preview(connection):
    """A preview is stored for a time while its prediction is open, and not after."""
    store = load_script("store_preview")
    store(connection, open="open", preview="late", id="p", image=b"\xff", kept_s=60)
    connection.zadd("open", {"p": 1})
    store(connection, open="open", preview="preview", id="p", image=b"\xff", kept_s=60)

    assert connection.get("preview") == b"\xff"
    assert 0 < connection.ttl("preview") <= 60
    assert not connection.exists("late")


def test_claim_due(connection):
    """Due ids are claimed once, oldest first and at most as many as requested. Others stay."""
    claim = load_script("claim_due")
    connection.zadd("due", {"b": 2, "a": 1, "c": 3, "later": now_ms() + 600_000})

    assert claim(connection, due="due", most=2, lease_ms=60_000) == [b"a", b"b"]
    assert claim(connection, due="due", most=2, lease_ms=60_000) == [b"c"]
    assert claim(connection, due="due", most=2, lease_ms=60_000) == []


@pytest.fixture
def join(connection):
    """Put a prediction into its key's line."""
    script = load_script("join_line")

    def call(key_id, prediction_id, is_retry=0):
        script(
            connection,
            line=f"line:{key_id}",
            turns="turns",
            arrivals="arrivals",
            id=prediction_id,
            key_id=key_id,
            is_retry=is_retry,
        )

    return call


def test_join_line(connection, join):
    """Predictions wait in order of arrival, a retry waits first, and a repeated join does not change the place."""
    join("a", "a1")
    join("a", "a2")
    join("b", "b1")
    join("a", "a1")
    join("b", "b2", is_retry=1)

    assert connection.zrange("line:a", 0, -1) == [b"a1", b"a2"]
    assert connection.zrange("line:b", 0, -1) == [b"b2", b"b1"]
    assert connection.zrange("turns", 0, -1) == [b"b", b"a"]


def test_take_next(connection, join):
    """Keys take turns, each in order of arrival, and a missing line is skipped."""
    take = load_script("take_next")
    for key_id, prediction_id in (("a", "a1"), ("a", "a2"), ("lost", "x"), ("b", "b1")):
        join(key_id, prediction_id)
    connection.delete("line:lost")

    def taken():
        return take(connection, turns="turns", arrivals="arrivals", line_prefix="line:")

    assert [taken() for _ in range(4)] == [b"a1", b"b1", b"a2", None]


def test_list_next(connection, join):
    """The next predictions are listed in their order, at most as many as requested, and stay in line."""
    listing = load_script("list_next")
    for key_id, prediction_id in (("a", "a1"), ("a", "a2"), ("b", "b1")):
        join(key_id, prediction_id)

    def listed(most):
        return listing(connection, turns="turns", line_prefix="line:", most=most)

    assert listed(2) == [b"a1", b"b1"]
    assert listed(10) == [b"a1", b"b1", b"a2"]
    assert connection.zcard("line:a") == 2


def test_take_one(connection, join):
    """The prediction leaves its line with a token and ends its key's turn. The second call takes nothing."""
    take = load_script("take_one")
    for key_id, prediction_id in (("a", "a1"), ("a", "a2"), ("b", "b1")):
        join(key_id, prediction_id)
    connection.rpush("tokens", "t1", "t2")
    connection.mset({"job:t1": "x", "job:t2": "x"})
    names = {"turns": "turns", "line": "line:a", "tokens": "tokens", "arrivals": "arrivals"}
    values = {"key_id": "a", "id": "a2", "token_prefix": "job:"}

    assert take(connection, **names, **values) == 1
    assert take(connection, **names, **values) == 0
    assert connection.zrange("turns", 0, -1) == [b"b", b"a"]
    assert connection.lrange("tokens", 0, -1) == [b"t2"]
    assert not connection.exists("job:t1")


def test_leave_line(connection, join):
    """A prediction in line leaves with its token. One that is not in line leaves the tokens alone."""
    leave = load_script("leave_line")
    join("a", "a1")
    connection.rpush("tokens", "t1", "t2")
    connection.set("job:t1", "x")
    names = {"line": "line:a", "tokens": "tokens", "job": "job:t1"}
    leave(connection, **names, id="other", token="t1")
    assert connection.llen("tokens") == 2
    leave(connection, **names, id="a1", token="t1")

    assert connection.lrange("tokens", 0, -1) == [b"t2"]
    assert connection.exists("line:a", "job:t1") == 0


def test_measure_lines(connection, join):
    """All lines are counted, and the oldest arrival is returned."""
    measure = load_script("measure_lines")
    assert measure(connection, turns="turns", line_prefix="line:") == [0, None]
    for key_id, prediction_id in (("b", "b1"), ("a", "a1"), ("a", "a2")):
        join(key_id, prediction_id)

    assert measure(connection, turns="turns", line_prefix="line:") == [3, b"b1"]


def test_postpone_delivery(connection):
    """A planned delivery becomes due later. An unknown one is not added."""
    postpone = load_script("postpone_delivery")
    connection.zadd("due", {"p": 1})
    for prediction_id in ("p", "gone"):
        postpone(connection, due="due", id=prediction_id, pause_ms=60_000)

    assert abs(connection.zscore("due", "p") - now_ms() - 60_000) < 30_000
    assert connection.zcard("due") == 1


def test_change_delivery(connection):
    """A record is replaced only if unchanged. The next attempt is planned, dropped, or dropped with its prediction."""
    script = load_script("change_delivery")
    connection.set("prediction", "x")
    connection.zadd("due", {"p": 1})

    def changed(old, new, pause_ms):
        names = {"delivery": "delivery", "due": "due", "prediction": "prediction"}
        return script(connection, **names, old=old, new=new, id="p", pause_ms=pause_ms)

    assert changed(None, "one", 60_000) == 1
    assert abs(connection.zscore("due", "p") - now_ms() - 60_000) < 30_000
    assert changed(None, "two", 60_000) == 0
    assert changed("one", "two", None) == 1
    assert (connection.get("delivery"), connection.zscore("due", "p")) == (b"two", None)
    connection.delete("prediction")
    connection.zadd("due", {"p": 1})
    assert changed("anything", "three", 60_000) == 1
    assert (connection.get("delivery"), connection.zscore("due", "p")) == (b"two", None)


def test_change_upload(connection):
    """A record is replaced only if unchanged."""
    change = load_script("change_upload")
    connection.set("record", "old")

    assert change(connection, record="record", old="older", new="new") == 0
    assert change(connection, record="record", old="old", new="new") == 1
    assert connection.get("record") == b"new"


def test_complete_upload(connection):
    """An existing upload is completed and listed. A deleted one is not restored."""
    complete = load_script("complete_upload")
    values: Values = {
        "record": "record",
        "uploads": "of",
        "value": "new",
        "id": "u",
        "opened_s": 1.5,
    }
    assert complete(connection, **values) == 0
    assert not connection.exists("record")
    connection.set("record", "old")
    assert complete(connection, **values) == 1

    assert (connection.get("record"), connection.zscore("of", "u")) == (b"new", 1.5)


def test_a_script_that_redis_has_lost_is_sent_again(connection):
    """After SCRIPT FLUSH, as after a restart or a failover, a call succeeds, and the next one sends only the hash."""
    read = load_script("read_prediction")
    for _ in range(2):
        connection.script_flush()
        connection.set("record", "value")

        assert read(connection, record="record")[1] == b"value"
    connection.config_resetstat()
    read(connection, record="record")
    assert {"cmdstat_evalsha"} == {c for c in connection.info("commandstats") if "eval" in c}


def test_a_first_transaction_runs_once(connection, redis_server):
    """A new process loads the scripts before its first transaction, whose commands run once."""
    connection.script_flush()
    script = LuaScript("local key = unpack(KEYS)\nreturn redis.call('GET', key)")
    with redis_server.connect() as new:
        pipe = new.pipeline()
        pipe.incr("key")
        script(pipe, key="key")

        assert execute(pipe) == [1, b"1"]


def test_a_transaction_without_its_scripts_is_repeated(connection):
    """If Redis lacks a script of a transaction it gets all of them, and every reply is present. The pipeline can be reused."""
    script = LuaScript("local key = unpack(KEYS)\nreturn redis.call('GET', key)")
    connection.script_flush()
    pipe = connection.pipeline()
    for value in ("first", "second"):
        pipe.set("key", value)
        script(pipe, key="key")

        assert execute(pipe) == [True, value.encode()]


def test_predictions_survive_lost_scripts(connection):
    """A prediction is accepted, taken, claimed and cancelled although Redis loses all scripts before each step."""
    store, queues = a_store(connection), Queues(connection)
    kind = MODELS[a_prediction().model].checkpoint
    connection.script_flush()
    store.add(a_prediction())
    connection.script_flush()
    assert queues.is_queued(store.get("p"))
    connection.script_flush()
    assert queues.take(kind) == "p"
    connection.script_flush()
    store.change("p", lambda p, now: p.claim("a", now))
    connection.script_flush()
    store.change("p", lambda p, now: p.cancel(now))
    connection.script_flush()
    store.add(a_prediction("q"))
    connection.script_flush()
    store.change("q", lambda p, now: p.cancel(now))

    assert store.get("p").status is store.get("q").status is Status.CANCELLED
    assert (queues.length(kind), queues.take(kind)) == (0, None)
    assert store.count_open() == 0
