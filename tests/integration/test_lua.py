"""Each Lua script on a real Redis, and what happens if Redis does not have the script."""

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest

from app.lua.script import LuaScript, execute, load_script
from app.predictions.catalog import MODELS
from app.predictions.prediction import Status
from app.predictions.queue import Queues
from tests.support.fakes import a_prediction, a_store
from tests.support.redis_calls import counting

LUA = Path(__file__).parents[2] / "app" / "lua"
INCLUDED = {"now", "limits", "drop_token", "join", "next_ids", "place"}
SCRIPTS = sorted({path.stem for path in LUA.glob("*.lua")} - INCLUDED)
Values = dict[str, Any]
NO_LIMITS: Values = {
    "month": "2026-01",
    "cost": 0,
    "queue_limit": "",
    "in_flight_limit": "",
    "budget": "",
}
LINE: Values = {
    "line": "line:k",
    "waiting": "waiting",
    "turns": "turns",
    "arrivals": "arrivals",
    "tokens": "tokens",
}
ACCOUNT: Values = {"open": "open", "held": "held", "spent": "spent"}


def now_ms():
    return round(time.time() * 1000)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_has_test_and_named_keys(name):
    """Each script has a test of its name here, and no script reads KEYS or ARGV by number."""
    script = load_script(name)

    assert f"test_{name}" in globals()
    assert "KEYS[" not in script.text
    assert "ARGV[" not in script.text


def test_missing_and_unknown_names_are_refused(connection):
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
        "key_id": "k",
        "ledger": "ledger",
        "line_prefix": "line:",
        **LINE,
    }
    times: Values = {
        "created_ms": 5,
        "due_ms": 6,
        "look_at_ms": 8,
        "idempotency_kept_ms": 9000,
    }

    def call(**values):
        return script(connection, **ACCOUNT | fixed | times | NO_LIMITS | {"id": "p"} | values)

    return call


def test_add_prediction(connection, add):
    """The record is written once, with its due time, its place in the history, its maximum cost, its place in line and a token."""
    assert add(cost=7) == [b"p", b"", 0]
    assert add(cost=9, value="again") == [b"p", b""]
    assert add(id="q", record="q") == [b"q", b"", 1]
    connection.zrem("line:k", "q")
    connection.zrem("waiting", "q")
    connection.hdel("held", "q")

    assert connection.get("record") == b"value"
    assert connection.zscore("open", "p") == 6
    assert (connection.zscore("history", "p"), connection.zscore("ledger", "p")) == (5, 8)
    assert connection.hgetall("held") == {b"p": b"7"}
    assert connection.zrange("line:k", 0, -1) == connection.zrange("waiting", 0, -1) == [b"p"]
    assert (connection.zrange("turns", 0, -1), connection.llen("tokens")) == ([b"k"], 2)


def test_add_prediction_with_idempotency_key(connection, add):
    """The first id is kept for a time. Another record with the same idempotency key is not written."""
    assert add(idempotency="key") == [b"p", b"", 0]
    assert add(idempotency="key", id="q", record="other") == [b"p", b""]

    assert 0 < connection.pttl("key") <= 9000
    assert not connection.exists("other")


def test_add_prediction_over_a_limit(connection, add):
    """A refused prediction leaves nothing."""
    connection.zadd("open", {"x": 1})

    assert add(queue_limit=1, idempotency="key") == [b"", b"queue"]
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


OLD_SHA1 = hashlib.sha1(b"older text").hexdigest()


@pytest.fixture
def open_record(connection):
    """The record of an open prediction, `older text`, with what belongs to it."""
    connection.set("record", "older text")
    connection.zadd("open", {"p": 1})
    connection.zadd("ledger", {"p": 1})
    connection.hset("held", "p", 7)
    connection.set("preview", "image")


@pytest.fixture
def change(connection, open_record):
    """Change `text` in the record to `form`."""
    script = load_script("change_prediction")
    keys: Values = {"record": "record", "open": "open"}
    keys |= {"webhooks_due": "due", "starts": "starts", "webhook_due_ms": None, "owes_start": 0}
    fixed: Values = {"offset": 6, "part": "form", "id": "p", "due_ms": 5}

    def call(**values):
        return script(
            connection, **keys | fixed | {"old_sha1": OLD_SHA1, "channel": "channel"} | values
        )

    return call


def test_change_prediction(connection, change):
    """A change moves the time of the next check and is announced."""
    with connection.pubsub() as subscription:
        subscription.subscribe("channel")
        subscription.get_message(timeout=30)
        assert change() == 1
        message = subscription.get_message(timeout=30)

    assert message["data"] == b"p"
    assert connection.get("record") == b"older form"
    assert connection.zscore("open", "p") == 5
    assert connection.exists("preview", "held") == 2


def test_change_prediction_without_consequences(connection, change):
    """Times that are not given stay, and without a channel nothing is announced."""
    with connection.pubsub() as subscription:
        subscription.subscribe("channel")
        subscription.get_message(timeout=30)
        assert change(due_ms=None, channel=None) == 1
        connection.publish("channel", "next")
        message = subscription.get_message(timeout=30)

    assert message["data"] == b"next"
    assert connection.zscore("open", "p") == 1


def test_change_prediction_that_has_changed(connection, change):
    """A record that is no longer as it was read is not changed."""
    assert change(old_sha1=hashlib.sha1(b"oldest text").hexdigest()) == 0
    assert connection.get("record") == b"older text"
    assert connection.zscore("open", "p") == 1


def test_change_prediction_plans_progress(connection, change):
    """A change that the receiver is told of is due once, at the first time, and is no delivery of the history."""
    for due_ms, owes_start in ((3, 1), (4, 0)):
        connection.set("record", "older text")
        assert change(webhook_due_ms=due_ms, owes_start=owes_start) == 1

    assert connection.zscore("due", "p") == 3
    assert connection.smembers("starts") == {b"p"}
    assert connection.exists("of", "of:open") == 0


def test_take_progress(connection):
    """What is due leaves the outbox while the prediction is open, and stays once it has ended."""
    take = load_script("take_progress")
    connection.zadd("open", {"p": 1})
    connection.zadd("due", {"p": 1, "ended": 1})

    assert [take(connection, open="open", due="due", id=i) for i in ("p", "ended")] == [1, 0]
    assert connection.zrange("due", 0, -1) == [b"ended"]


@pytest.fixture
def end(connection, open_record):
    """End the prediction. Its record is then `older, longer text`."""
    script = load_script("end_prediction")
    keys = {"record": "record", "expiry": "expiry", "webhooks_due": "due", "deliveries": "of"}
    more_keys = {"ledger": "ledger", "preview": "preview", "recent": "recent"}
    record: Values = {"old_sha1": OLD_SHA1, "offset": 5, "part": ", longer text", "id": "p"}
    more: Values = {"channel": "channel", "has_previews": 1}
    success: Values = {
        "sample": None,
        "samples": 2,
        "usage": "2026-01-02 m",
        "images": 0,
        "pixels": 0,
    }
    amounts: Values = {"month": "m", "cost": 0, "engine_ms": 0, "usage_from": "2026-01-01 "}
    times: Values = {"expires_ms": 9, "webhook_due_ms": None}

    def call(**values):
        return script(
            connection,
            **ACCOUNT | keys | more_keys | record | more | success | amounts | times | values,
        )

    return call


def test_end_prediction(connection, end):
    """The end frees the held amount, charges the cost, and lists the record for deletion and delivery."""
    assert end(webhook_due_ms=3, cost=4) == 1

    assert connection.get("record") == b"older, longer text"
    assert connection.exists("open", "preview", "held", "ledger") == 0
    assert connection.hgetall("spent") == {b"m": b"4"}
    assert connection.zscore("expiry", "p") == 9
    assert (connection.zscore("due", "p"), connection.zscore("of", "p")) == (3, 3)
    assert connection.smembers("of:open") == {b"p"}


def test_due_webhooks_are_announced(connection, change, end):
    """What gets due at a receiver is announced once, and nothing else is."""
    with connection.pubsub() as subscription:
        subscription.subscribe("due")
        subscription.get_message(timeout=30)
        for webhook_due_ms in (None, 3, 4):
            connection.set("record", "older text")
            assert change(webhook_due_ms=webhook_due_ms) == 1
        connection.publish("due", "then")
        for webhook_due_ms in (None, 5):
            connection.set("record", "older text")
            assert end(webhook_due_ms=webhook_due_ms) == 1
        connection.publish("due", "last")
        messages = [subscription.get_message(timeout=30)["data"] for _ in range(4)]

    assert messages == [b"p", b"then", b"p", b"last"]


def test_end_prediction_with_shorter_record(connection, end):
    """What stood behind the new end of a record is gone."""
    assert end(part=".") == 1
    assert connection.get("record") == b"older."


def test_end_prediction_releases_reserved_cost(connection, end):
    """The sum of the held costs falls by that of the prediction, and not if what it held was released before."""
    connection.hset("held", "q", 5)
    connection.hset("spent", "reserved", 12)
    for _ in range(2):
        connection.set("record", "older text")
        end()
        assert connection.hgetall("spent") == {b"reserved": b"5"}

    assert connection.hgetall("held") == {b"q": b"5"}


def test_end_prediction_keeps_samples(connection, end):
    """A sample goes before the older ones, of which a number is kept. Without one nothing is added."""
    end()
    assert not connection.exists("recent")
    connection.rpush("recent", "c", "d")
    for sample in ("b", "a"):  # it is cut at twice its length
        connection.set("record", "older text")
        end(sample=sample)
        assert connection.lindex("recent", 0) == sample.encode()

    assert connection.lrange("recent", 0, -1) == [b"a", b"b"]


def test_end_prediction_counts_usage(connection, end):
    """A success adds its figures to those of its day and model, and removes old days. An end without images adds nothing."""
    connection.hset("spent", mapping={"2025-12": 3, "2025-12-31 m": "1 2 3 4"})
    end()
    assert len(connection.hgetall("spent")) == 2
    for _ in range(2):
        connection.set("record", "older text")
        end(images=2, pixels=50, engine_ms=7, cost=9)

    connection.set("record", "older text")
    end(usage="2026-01-02 n", images=1)

    assert connection.hgetall("spent") == {
        b"2025-12": b"3",
        b"m": b"18",
        b"2026-01-02 m": b"4 100 14 18",
        b"2026-01-02 n": b"1 0 0 0",
    }


def test_end_prediction_that_has_changed(connection, end):
    """A record that is no longer as it was read does not end."""
    assert end(old_sha1=hashlib.sha1(b"oldest text").hexdigest()) == 0
    assert connection.get("record") == b"older text"
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

    def claimed(horizon_ms=None):
        return claim(connection, due="due", limit=2, lease_ms=60_000, horizon_ms=horizon_ms)

    assert [claimed() for _ in range(3)] == [[b"a", b"b"], [b"c"], []]
    assert claimed(horizon_ms=500_000) == []
    assert connection.zscore("due", "later") < now_ms() + 100_000


@pytest.fixture
def join(connection):
    """Put a prediction into its key's line."""
    script = load_script("join_line")

    def call(key_id, prediction_id, is_retry=0):
        script(
            connection,
            **LINE | {"line": f"line:{key_id}"},
            id=prediction_id,
            key_id=key_id,
            is_retry=is_retry,
        )

    return call


def test_join_line(connection, join):
    """Predictions wait in order of arrival, a retry waits first, and a repeated join does not change the place. Each pushes a token."""
    join("a", "a1")
    join("a", "a2")
    join("b", "b1")
    join("a", "a1")
    join("b", "b2", is_retry=1)

    assert connection.zrange("line:a", 0, -1) == [b"a1", b"a2"]
    assert connection.zrange("line:b", 0, -1) == [b"b2", b"b1"]
    assert connection.zrange("turns", 0, -1) == [b"b", b"a"]
    assert connection.zrange("waiting", 0, -1) == [b"b2", b"a1", b"a2", b"b1"]
    assert connection.lrange("tokens", 0, -1) == [b"token"] * 5


@pytest.fixture
def take(connection):
    """Take the next prediction."""
    script = load_script("take_next")
    keys = {"turns": "turns", "waiting": "waiting", "arrivals": "arrivals", "open": "open"}
    prefixes = {"line_prefix": "line:", "record_prefix": "record:"}
    fixed: Values = {"channel": "channel", "lease_until_ms": now_ms() + 90_000, "check_ms": 60_000}

    def call(claim=None):
        return script(connection, **keys | prefixes | fixed, claim=claim)

    return call


def test_take_next(connection, join, take):
    """Keys take turns, each in order of arrival, and a missing line is skipped. The record comes along."""
    for key_id, prediction_id in (("a", "a1"), ("a", "a2"), ("lost", "x"), ("b", "b1")):
        join(key_id, prediction_id)
    connection.delete("line:lost")
    connection.zadd("open", {"a1": 1})
    connection.set("record:a1", "a record")

    assert [take() for _ in range(3)] == [
        [b"a1", 0, b"a record"],
        [b"b1", 0, None],
        [b"a2", 0, None],
    ]
    assert connection.zrange("waiting", 0, -1) == [b"x"]
    assert take() is None
    assert not connection.exists("waiting")
    assert abs(connection.zscore("open", "a1") - now_ms() - 60_000) < 30_000
    assert connection.zcard("open") == 1


def test_take_next_claims(connection, join, take):
    """A record that was never changed gets the end of a claim, with the check at the end of the lease, and is announced."""
    join("a", "a1")
    connection.zadd("open", {"a1": now_ms() + 600_000})
    connection.set("record:a1", '{"id":"a1"}')
    with connection.pubsub() as subscription:
        subscription.subscribe("channel")
        subscription.get_message(timeout=30)
        assert take(',"status":"running"}') == [b"a1", 1, b'{"id":"a1"}']
        assert subscription.get_message(timeout=30)["data"] == b"a1"

    assert connection.get("record:a1") == b'{"id":"a1","status":"running"}'
    assert abs(connection.zscore("open", "a1") - now_ms() - 90_000) < 30_000


@pytest.mark.parametrize(
    "record",
    [
        '{"id":"a1","attempt":1}',
        '{"queued_at":1}',
        '{"status":"x"}',
        '{"id":"a1","known_failure":{}}',
        '{"id":"a1"',
        None,
    ],
)
def test_take_next_leaves_decision(connection, join, take, record):
    """A record that a claim may change otherwise, or that is damaged or gone, is taken as it is."""
    join("a", "a1")
    connection.zadd("open", {"a1": now_ms() + 600_000})
    if record:
        connection.set("record:a1", record)

    assert take(',"status":"running"}') == [b"a1", 0, record and record.encode()]
    assert connection.get("record:a1") == (record and record.encode())


@pytest.mark.parametrize("check_ms", [-1, 0, 89_000])
def test_take_next_leaves_what_is_due(connection, join, take, check_ms):
    """What is due for a check before the lease would end, as at its queue timeout, is not claimed. What has ended is not either."""
    for name in ("a1", "a2"):
        join("a", name)
        connection.set(f"record:{name}", "{}")
    connection.zadd("open", {"a1": now_ms() + check_ms})

    assert [take("x}") for _ in range(2)] == [[b"a1", 0, b"{}"], [b"a2", 0, b"{}"]]
    assert connection.zrange("open", 0, -1) == [b"a1"]


def test_list_next(connection, join):
    """The next predictions are listed in their order, at most as many as requested, and stay in line."""
    listing = load_script("list_next")
    for key_id, prediction_id in (("a", "a1"), ("a", "a2"), ("b", "b1")):
        join(key_id, prediction_id)

    def listed(limit):
        return listing(connection, turns="turns", line_prefix="line:", limit=limit)

    assert listed(2) == [b"a1", b"b1"]
    assert listed(10) == [b"a1", b"b1", b"a2"]
    assert listed(1) == [b"a1"]
    assert connection.zcard("line:a") == 2


def test_list_next_ends_with_the_lines(connection, join):
    """What the listing costs goes with the predictions in line, and not with the limit."""
    join("a", "a1")
    listing = load_script("list_next")
    listing(connection, turns="turns", line_prefix="line:", limit=1)  # loads it
    with counting(connection) as count:
        assert listing(connection, turns="turns", line_prefix="line:", limit=50) == [b"a1"]

    [(_script, *commands)] = [call for call in count.calls if call[0].startswith("EVALSHA")]
    assert len(commands) <= 3


def test_take_one(connection, join):
    """The prediction leaves its line with a token and ends its key's turn. The second call takes nothing."""
    take = load_script("take_one")
    for key_id, prediction_id in (("a", "a1"), ("a", "a2"), ("b", "b1")):
        join(key_id, prediction_id)
    connection.lpush("tokens", "t1")
    connection.mset({"rq:job:t1": "x", "rq:job:t2": "x"})
    connection.zadd("open", {"a2": 1})
    names = LINE | {"line": "line:a", "open": "open"}
    values: Values = {"key_id": "a", "id": "a2", "check_ms": 60_000}

    assert take(connection, **names, **values) == 1
    assert take(connection, **names, **values) == 0
    assert connection.zrange("turns", 0, -1) == [b"b", b"a"]
    assert connection.lrange("tokens", 0, -1) == [b"token"] * 3
    assert connection.keys("rq:job:*") == [b"rq:job:t2"]
    assert connection.zrange("waiting", 0, -1) == [b"a1", b"b1"]
    assert abs(connection.zscore("open", "a2") - now_ms() - 60_000) < 30_000


def test_leave_line(connection, join):
    """A prediction in line leaves with its token. One that is not in line leaves the tokens alone."""
    leave = load_script("leave_line")
    join("a", "a1")
    connection.lpush("tokens", "t1")
    connection.set("rq:job:t1", "x")
    names = {"line": "line:a", "waiting": "waiting", "tokens": "tokens"}
    leave(connection, **names, id="other")
    assert connection.llen("tokens") == 2
    leave(connection, **names, id="a1")

    assert connection.lrange("tokens", 0, -1) == [b"token"]
    assert connection.exists("line:a", "waiting", "rq:job:t1") == 0


def test_keep_in_line(connection, join):
    """The next check of one in line is after a time or at its timeout. One that is not in line is left alone."""
    keep = load_script("keep_in_line")
    join("a", "a1")
    connection.zadd("open", {"a1": 1, "a2": 1})

    def keep_one(prediction_id, timeout_ms=None):
        values = {"id": prediction_id, "check_ms": 60_000, "timeout_ms": timeout_ms}
        return keep(connection, waiting="waiting", open="open", **values)

    assert (keep_one("a1"), keep_one("a2")) == (1, 0)
    assert abs(connection.zscore("open", "a1") - now_ms() - 60_000) < 30_000
    assert connection.zscore("open", "a2") == 1
    assert keep_one("a1", timeout_ms=5) == 1
    assert connection.zscore("open", "a1") == 5


def test_delete_prediction(connection):
    """A deletion leaves only the id, if late files are possible. The idempotency key stays if it now names another prediction."""
    delete = load_script("delete_prediction")
    sets = ("history", "expiry", "webhooks_due", "deliveries", "ledger")

    def deleted(prediction_id, late_ms=None):
        for name in sets:
            connection.zadd(name, {prediction_id: 1})
        for name in ("deliveries:open", "starts"):
            connection.sadd(name, prediction_id)
        connection.mset({"record": "x", "delivery": "x", "preview": "x"})
        names = {
            name: name for name in (*sets, "record", "delivery", "preview", "starts", "idempotency")
        }
        delete(connection, **names, id=prediction_id, late_ms=late_ms)
        return sorted(connection.keys())

    connection.set("idempotency", "younger")
    assert deleted("p") == [b"idempotency"]
    assert deleted("younger") == []
    assert deleted("late", late_ms=5) == [b"expiry"]
    assert connection.zrange("expiry", 0, -1, withscores=True) == [(b"late", 5)]


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
        names = {name: name for name in ("delivery", "due", "prediction", "deliveries")}
        return script(connection, **names, old=old, new=new, id="p", pause_ms=pause_ms)

    assert changed(None, "one", 60_000) == 1
    assert connection.smembers("deliveries:open") == {b"p"}
    assert abs(connection.zscore("due", "p") - now_ms() - 60_000) < 30_000
    assert changed(None, "two", 60_000) == 0
    assert changed("one", "two", None) == 1
    assert not connection.exists("deliveries:open")
    assert (connection.get("delivery"), connection.zscore("due", "p")) == (b"two", None)
    connection.delete("prediction")
    connection.zadd("due", {"p": 1})
    assert changed("anything", "three", 60_000) == 1
    assert (connection.get("delivery"), connection.zscore("due", "p")) == (b"two", None)


def test_find_place(connection):
    """What keys with an earlier turn, and the own line, take before counts. One that is not in line has no place."""
    find = load_script("find_place")
    connection.zadd("turns", {"b": 1, "a": 2, "c": 3})
    for key_id, length in {"a": 3, "b": 1, "c": 5}.items():
        connection.zadd(f"line:{key_id}", {f"{key_id}{k}": k for k in range(length)})

    def place(prediction_id):
        keys = {"turns": "turns", "line": "line:a", "line_prefix": "line:"}
        return find(connection, **keys, key_id="a", id=prediction_id)

    assert [place(i) for i in ("a0", "a1", "a2", "gone")] == [1, 3, 5, None]
    assert place(None) == 7  # for one that would join


@pytest.mark.parametrize(
    ("key_id", "rank", "expected"),
    [("k010", 0, 10), ("k010", 1, 1 + 10 * 2 + 109), ("k099", 0, 99), ("k099", 1, 1 + 99 * 2 + 20), ("new", None, 120)],
)  # fmt: skip
def test_find_place_among_many_keys(connection, key_id, rank, expected):
    """With more lines than are read, the others count as the mean, whether their turn comes earlier or later."""
    find = load_script("find_place")
    for number in range(120):
        connection.zadd("turns", {f"k{number:03}": number})
        connection.zadd(f"line:k{number:03}", {f"{number}-{k}": k for k in range(3)})
    keys = {"turns": "turns", "line": f"line:{key_id}", "line_prefix": "line:"}
    prediction_id = None if rank is None else f"{int(key_id[1:])}-{rank}"
    connection.config_resetstat()

    assert find(connection, **keys, key_id=key_id, id=prediction_id) == expected
    assert connection.info("commandstats")["cmdstat_zcard"]["calls"] <= 52


def test_read_outlook(connection, join):
    """The samples, the records of the next predictions and how many wait, and the records of those that are checked soon. Each has as many as requested, and a record may be gone."""
    read = load_script("read_outlook")
    for key_id, prediction_id in (("a", "a1"), ("a", "a2"), ("b", "b1"), ("b", "b2")):
        join(key_id, prediction_id)
    records = ("a1", "b1", "b2", "late", "soon", "later")
    connection.mset({f"record:{name}": name.upper() for name in records})
    connection.rpush("recent", "x", "y", "z")
    now = now_ms()
    connection.zadd("open", {"late": 1, "soon": now + 30_000, "later": now + 600_000})

    def outlook(limit):
        keys = {"turns": "turns", "waiting": "waiting", "recent": "recent", "open": "open"}
        prefixes = {"line_prefix": "line:", "record_prefix": "record:"}
        return read(connection, **keys, **prefixes, limit=limit, samples=2, soon_ms=60_000)

    assert outlook(1) == [[b"x", b"y"], [b"A1"], 4, [b"LATE"]]
    assert outlook(9) == [[b"x", b"y"], [b"A1", b"B1", None, b"B2"], 4, [b"LATE", b"SOON"]]


@pytest.fixture
def join_lines(connection):
    """Put due deliveries, named by key, host and a digit, into their lines."""
    join = load_script("join_delivery_line")

    def call(*names):
        for name in names:
            key_id, host, _ = name
            values = {"id": name, "key_id": key_id, "host": host, "check_ms": 60_000}
            keys = {"due": "due", "turns": "turns", "hosts": f"hosts:{key_id}"}
            join(connection, **keys, line=f"line:{key_id}:{host}", arrivals="arrivals", **values)

    return call


def test_join_delivery_line(connection, join_lines):
    """A due delivery joins the line of its key and host once, with turns for both. A deleted one does not."""
    connection.zadd("due", {"ax1": 1, "ax2": 1})
    join_lines("ax1", "ax2", "ax1", "ax3")

    assert connection.zrange("line:a:x", 0, -1) == [b"ax1", b"ax2"]
    assert connection.zrange("hosts:a", 0, -1) == [b"x"]
    assert connection.zrange("turns", 0, -1) == [b"a"]
    assert connection.zcard("due") == 2
    assert abs(connection.zscore("due", "ax1") - now_ms() - 60_000) < 30_000


def test_next_delivery(connection, join_lines):
    """The next delivery is due in the time of the earliest one, or at once if one is due or waits in a line."""
    script = load_script("next_delivery")

    def due_ms():
        return script(connection, due="due", turns="turns")

    assert due_ms() is None
    connection.zadd("due", {"ax1": now_ms() + 90_000, "ax2": now_ms() + 600_000})
    assert 0 < due_ms() <= 120_000
    join_lines("ax1")
    assert due_ms() == 0
    connection.delete("turns")
    connection.zadd("due", {"ax1": 1})
    assert due_ms() == 0


def test_take_delivery(connection, join_lines):
    """Keys take turns, and so do the hosts of a key. Busy ones are passed over, and deleted deliveries are skipped."""
    take = load_script("take_delivery")
    names = ["ax1", "ax2", "ax3", "ay1", "ay2", "bx1", "bx2"]
    connection.zadd("due", dict.fromkeys(names, 1))
    join_lines(*names)
    connection.zrem("due", "ax2")

    def taken(busy="[]"):
        keys = {"turns": "turns", "arrivals": "arrivals", "due": "due"}
        prefixes = {"hosts_prefix": "hosts:", "line_prefix": "line:"}
        result = take(connection, **keys, **prefixes, busy=busy, lease_ms=90_000)
        return result and result[2].decode()

    assert taken('["a"]') == "bx1"
    assert taken('["a x"]') == "ay1"
    assert taken('["a x", "a y", "b"]') is None
    assert [taken() for _ in range(5)] == ["bx2", "ax1", "ay2", "ax3", None]
    assert abs(connection.zscore("due", "ax1") - now_ms() - 90_000) < 30_000
    assert sorted(connection.keys()) == [b"arrivals", b"due"]


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
        "expiry": "expiry",
        "held": "held",
        "bytes": "bytes",
        "value": "new",
        "id": "u",
        "opened_s": 1.5,
        "size": 10,
        "max_bytes": 15,
        "expires_s": 9,
    }
    assert complete(connection, **values) == 0
    assert not connection.exists("record")
    connection.set("record", "old")
    assert complete(connection, **values) == 1
    assert complete(connection, **values | {"size": 16}) == -1

    assert (connection.get("record"), connection.zscore("of", "u")) == (b"new", 1.5)
    assert (connection.zscore("expiry", "u"), connection.get("bytes")) == (9, b"10")


@pytest.fixture
def open_upload(connection):
    """Open an upload of a key that may have one."""

    def open_upload(upload_id):
        values: Values = {"value": "new", "id": upload_id, "expires_s": 9, "limit": 1}
        script = load_script("open_upload")
        return script(connection, record=upload_id, expiry="expiry", held="held", **values)

    return open_upload


def test_open_upload(connection, open_upload):
    """An upload over the limit of its key leaves nothing."""
    assert [open_upload("u"), open_upload("v")] == [1, 0]
    assert connection.hgetall("held") == {b"u": b"0"}
    assert not connection.exists("v")


def test_delete_upload(connection, open_upload):
    """A deleted upload no longer counts."""
    open_upload("u")
    connection.hset("held", "u", 7)
    connection.set("bytes", 7)
    delete = load_script("delete_upload")
    delete(connection, record="u", uploads="of", id="u", held="held", bytes="bytes")

    assert connection.keys() == [b"expiry"]
    assert open_upload("v") == 1


def test_flushed_script_is_sent_again(connection):
    """After SCRIPT FLUSH, as after a restart or a failover, a call succeeds, and the next one sends only the hash."""
    read = load_script("read_prediction")
    for _ in range(2):
        connection.script_flush()
        connection.set("record", "value")

        assert read(connection, record="record")[1] == b"value"
    connection.config_resetstat()
    read(connection, record="record")
    assert {"cmdstat_evalsha"} == {c for c in connection.info("commandstats") if "eval" in c}


def test_first_transaction_runs_once(connection, redis_server):
    """A new process loads the scripts before its first transaction, whose commands run once."""
    connection.script_flush()
    script = LuaScript("local key = unpack(KEYS)\nreturn redis.call('GET', key)")
    with redis_server.connect() as new:
        pipe = new.pipeline()
        pipe.incr("key")
        script(pipe, key="key")

        assert execute(pipe) == [1, b"1"]


def test_transaction_without_scripts_is_repeated(connection):
    """If Redis lacks a script of a transaction it gets all of them, and every reply is present. The pipeline can be reused."""
    script = LuaScript("local key = unpack(KEYS)\nreturn redis.call('GET', key)")
    connection.script_flush()
    pipe = connection.pipeline()
    for value in ("first", "second"):
        pipe.set("key", value)
        script(pipe, key="key")

        assert execute(pipe) == [True, value.encode()]


def test_predictions_survive_script_flush(connection):
    """A prediction is accepted, taken, claimed and cancelled although Redis loses all scripts before each step."""
    store, queues = a_store(connection), Queues(connection)
    kind = MODELS[a_prediction().model].checkpoint
    connection.script_flush()
    store.add(a_prediction())
    connection.script_flush()
    assert store.plan_check(store.get("p"))
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
