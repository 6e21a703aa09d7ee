"""The store on a real Redis: the results of concurrent callers, lost replies and outages."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.predictions.checkpoint_kind import CheckpointKind
from app.predictions.errors import (
    AlreadyFinal,
    KleinError,
    LeaseLost,
    Unavailable,
    UnknownPrediction,
)
from app.predictions.parameters import AppliedLora, OutputFormat, Parameters
from app.predictions.prediction import Output, Prediction, Status
from app.predictions.queue import Queues
from app.predictions.redis_keys import ENDED_CHANNEL, EXPIRY, OPEN, record_key
from tests.support.fakes import NOW, a_prediction, a_store, expire_lease, make_due
from tests.support.faulty_proxy import lossy_network

QUEUE = "rq:queue:klein-distilled"
OUTPUTS = (Output(key="p/a/0.png", width=64, height=48),)


@pytest.fixture
def store(connection):
    return a_store(connection)


def claim(store, owner="a", prediction_id="p"):
    return store.change(prediction_id, lambda p, now: p.claim(owner, now))


def succeed(store, owner="a", prediction_id="p"):
    return store.change(prediction_id, lambda p, now: p.succeed(owner, OUTPUTS, (), now))


def cancel(store, prediction_id="p"):
    return store.change(prediction_id, lambda p, now: p.cancel(now))


def at_once(count, act):
    """Let `count` threads make the same call at once. Return what each returned or raised."""
    start = threading.Barrier(count)

    def run(number):
        start.wait()
        try:
            return act(number)
        except KleinError as exc:
            return exc

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(run, range(count)))


def test_add_stores_prediction(store, connection):
    """An accepted prediction has its record, its token, and its place among the open ones and in the history."""
    store.add(a_prediction())

    assert store.get("p") == a_prediction()
    assert connection.llen(QUEUE) == 1
    assert connection.zrange(OPEN, 0, -1) == [b"p"]
    assert connection.zrange("klein:history:key", 0, -1) == [b"p"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner),
    max_leaves=8,
)  # fmt: skip


PARAMETERS = Parameters(
    width=None,
    height=None,
    steps=4,
    guidance=1.5,
    seeds=(7, -(2**63)),
    negative_prompt="fog",
    loras=(AppliedLora(path="a.safetensors", scale=-0.5),),
    previews=True,
    output_format=OutputFormat.WEBP,
    output_quality=80,
)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(given_input=st.dictionaries(st.text("abc", max_size=3), JSON, max_size=4))
def test_record_round_trip(redis_server, given_input):
    """The record is read back equal, with any JSON in the input and every field set."""
    written = replace(
        a_prediction(
            input=given_input, reference_keys=("p/in-0.png",), parameters=PARAMETERS
        ).claim("a", NOW),
        step=2,
        steps=4,
        notes=("a note",),
    ).succeed("a", OUTPUTS, ("another",), NOW + timedelta(microseconds=1))
    with redis_server.connect() as connection:
        store = a_store(connection)
        connection.delete(record_key("p"))
        store.add(written)

        assert store.get("p") == written


def test_missing_prediction_is_unknown(store):
    """Reading and changing a missing prediction raise UnknownPrediction."""
    with pytest.raises(UnknownPrediction):
        store.get("nobody")
    with pytest.raises(UnknownPrediction):
        cancel(store, "nobody")


def test_failed_transition_changes_nothing(store, connection):
    """An exception of a transition reaches the caller, and the record is unchanged."""
    store.add(a_prediction())
    before = connection.get(record_key("p"))
    with pytest.raises(LeaseLost):
        succeed(store)

    assert connection.get(record_key("p")) == before


def test_one_of_eight_claims_wins(store):
    """Of eight workers that claim at once one succeeds, twenty times in a row."""
    for number in range(20):
        store.add(a_prediction(str(number)))
        results = at_once(8, lambda k, n=number: claim(store, f"owner {k}", str(n)))
        won = [result for result in results if isinstance(result, Prediction)]

        assert len(won) == 1
        assert sum(isinstance(result, LeaseLost) for result in results) == 7
        assert store.get(str(number)).owner == won[0].owner


def announced_until(pubsub, last):
    """Return the announced ids, up to the last one."""
    announced: list[bytes] = []
    for message in pubsub.listen():
        if message is None:
            continue  # the reply to the subscription
        prediction_id = message["data"].partition(b"\n")[0]
        if prediction_id == last:
            return announced
        announced.append(prediction_id)
    return announced


def cancel_last(store):
    """End one more prediction, which is announced after all others."""
    store.add(a_prediction("last"))
    cancel(store, "last")


def test_cancel_and_success_race_to_one_end(store, connection):
    """Two hundred times a cancel races a success. One wins, the other raises, and there is one announcement."""
    with connection.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(ENDED_CHANNEL)
        winners: Counter[Status] = Counter()
        for number in range(200):
            prediction_id = str(number)
            store.add(a_prediction(prediction_id))
            claim(store, "a", prediction_id)
            ends = [cancel, lambda s, i: succeed(s, "a", i)]
            results = at_once(2, lambda k, i=prediction_id, e=ends: e[(k + int(i)) % 2](store, i))
            won = [result for result in results if isinstance(result, Prediction)]
            assert len(won) == 1
            assert {type(r) for r in results} - {Prediction} <= {LeaseLost, AlreadyFinal}
            assert store.get(prediction_id) == won[0]
            winners[won[0].status] += 1
        cancel_last(store)
        announced = Counter(data for data in announced_until(pubsub, b"last"))

    assert winners[Status.CANCELLED] + winners[Status.SUCCEEDED] == 200
    assert announced == Counter(str(number).encode() for number in range(200))
    assert connection.zcard(OPEN) == 0
    assert connection.zcard(EXPIRY) == 201


def test_concurrent_changes_are_all_applied(store):
    """Eight threads with twenty changes each make one hundred and sixty changes."""
    store.add(a_prediction())

    def count_up(_number):
        for _ in range(20):
            store.change("p", lambda p, _now: replace(p, step=p.step + 1))

    at_once(8, count_up)

    assert store.get("p").step == 160


def test_lost_reply_to_take(redis_server, connection):
    """A prediction whose claim got no reply is taken again by the same call, and none behind it is claimed."""
    direct = a_store(connection)
    direct.take_next(CheckpointKind.DISTILLED, "first")  # Redis loads the script
    for name in ("p", "q"):
        direct.add(a_prediction(name))
    path = Path(redis_server.socket).with_name("lossy-take.sock")
    with lossy_network(redis_server.socket, path) as network:
        network.lose_reply_to(b"klein:turns")
        with redis.Redis(unix_socket_path=str(path)) as lossy:
            taken = a_store(lossy).take_next(CheckpointKind.DISTILLED, "owner")

        assert network.lost == 1
    assert taken is not None
    assert taken.claimed == direct.get("p")
    assert Queues(connection).list_next(CheckpointKind.DISTILLED, 2) == ["q"]


def test_worker_with_token_finds_record(store, redis_server):
    """Token, place in line and record appear in one transaction: who pops the token can take and read the record."""

    def pop(_number):
        records = []
        with redis_server.connect() as own_connection:
            for _ in range(50):
                own_connection.blpop([QUEUE], timeout=30)
                prediction_id = Queues(own_connection).take(CheckpointKind.DISTILLED)
                records.append(prediction_id and own_connection.exists(record_key(prediction_id)))
        return records

    def push(_number):
        for number in range(50):
            store.add(a_prediction(f"id{number}"))
        return []

    records, _ = at_once(2, lambda k: (pop, push)[k](k))

    assert records == [1] * 50


def test_cancel_removes_token_from_queue(store, connection):
    """A token leaves the queue with a prediction that is cancelled there, and the others stay."""
    for prediction_id in ("p", "q"):
        store.add(a_prediction(prediction_id))
    cancel(store)

    assert connection.llen(QUEUE) == 1


def test_release_pushes_token(store, connection):
    """A released prediction is queued again in the same transaction, with another token."""
    store.add(a_prediction())
    connection.delete(QUEUE)
    claim(store)
    store.change("p", lambda p, now: p.release("a", now))

    assert connection.llen(QUEUE) == 1


@pytest.mark.parametrize("moment", ["before", "after"])
def test_lost_reply_to_accept(redis_server, connection, tmp_path, moment):
    """If the reply to an accept is lost and the client repeats it, there is one prediction that runs once."""
    direct = a_store(connection)

    def run():
        claim(direct)
        succeed(direct)

    path = Path(redis_server.socket).with_name(f"lossy-{moment}.sock")
    with lossy_network(redis_server.socket, path) as network:
        network.lose_reply_to(
            b"klein:history:", meanwhile=run if moment == "before" else lambda: None
        )
        with redis.Redis(unix_socket_path=str(path)) as lossy:
            a_store(lossy).add(a_prediction())
    tokens = connection.lrange(QUEUE, 0, -1)
    if moment == "after":
        run()

    assert network.lost == 1
    assert direct.get("p").status is Status.SUCCEEDED
    assert len(set(tokens)) == 1
    assert len(tokens) <= 2
    assert connection.zcard(OPEN) == 0
    with pytest.raises(LeaseLost):
        claim(direct, "b")


@pytest.mark.parametrize("act", [claim, succeed, cancel])
def test_lost_reply_to_change(redis_server, connection, act):
    """A change whose reply is lost is made once, and its caller gets it. A repeated cancel raises."""
    direct = a_store(connection)
    direct.add(a_prediction())
    if act is succeed:
        claim(direct)
    path = Path(redis_server.socket).with_name(f"lossy-{act.__name__}.sock")
    with lossy_network(redis_server.socket, path) as network:
        network.lose_reply_to(OPEN.encode())  # a key of the script
        with redis.Redis(unix_socket_path=str(path)) as lossy:
            if act is cancel:
                with pytest.raises(AlreadyFinal, match="cancelled"):
                    cancel(a_store(lossy))
            else:
                assert act(a_store(lossy)) == direct.get("p")

    assert network.lost == 1
    assert direct.get("p").attempt == (0 if act is cancel else 1)
    assert connection.zcard(EXPIRY) == (0 if act is claim else 1)


def nowhere(folder):
    """Connect to a Redis that does not exist, without the client's retries."""
    return redis.Redis(unix_socket_path=str(folder / "none.sock"), retry=Retry(NoBackoff(), 0))


def test_redis_outage_raises_unavailable(tmp_path):
    """Each operation raises Unavailable if Redis does not answer."""
    with nowhere(tmp_path) as connection:
        store = a_store(connection)
        for act in (
            lambda: store.add(a_prediction()),
            lambda: store.get("p"),
            lambda: cancel(store),
            lambda: store.claim_due(10),
            lambda: store.claim_expired(10),
            lambda: store.delete(a_prediction()),
        ):
            with pytest.raises(Unavailable):
                act()


def test_full_redis_accepts_nothing(store, connection):
    """If memory is full an accept raises Unavailable, leaves nothing, and works again afterwards."""
    connection.config_set("maxmemory", 1)  # what earlier tests used may be freed at any time
    try:
        with pytest.raises(Unavailable):
            store.add(a_prediction())
    finally:
        connection.config_set("maxmemory", 0)

    assert connection.keys() == []
    store.add(a_prediction())
    assert store.get("p").status is Status.QUEUED


def test_claim_due_gives_each_prediction_to_one_caller(store, connection):
    """Eight concurrent reconcilers together get each due prediction once."""
    for number in range(100):
        store.add(a_prediction(str(number)))
        make_due(connection, str(number))
    claimed = [i for due in at_once(8, lambda _: store.claim_due(20)) for i in due]

    assert len(claimed) == len(set(claimed)) == 100
    assert store.claim_due(100) == []


def test_claim_due_skips_predictions_that_are_not_due(store, connection):
    """A fresh prediction and one with a current lease are not due. One whose lease has expired is."""
    for prediction_id in ("fresh", "running"):
        store.add(a_prediction(prediction_id))
    claim(store, "a", "running")
    assert store.claim_due(100) == []
    lease_ms = connection.zscore(OPEN, "running")
    expire_lease(store, "running")
    make_due(connection, "running")

    assert store.claim_due(100) == ["running"]
    assert lease_ms == round(store.get("running").started_at.timestamp() * 1000) + 10_000


def test_only_final_predictions_expire(connection):
    """Without retention a prediction expires at its end and not before. Deleted, it leaves no trace."""
    store = a_store(connection, retention=timedelta(0))
    for prediction_id in ("p", "q"):
        store.add(a_prediction(prediction_id))
    assert store.claim_expired(100) == []
    ended = cancel(store)
    assert store.claim_expired(100) == ["p"]
    assert store.claim_expired(100) == []  # claimed once
    store.delete(ended)

    with pytest.raises(UnknownPrediction):
        store.get("p")
    assert connection.zrange(EXPIRY, 0, -1) == []
    assert connection.zrange("klein:history:key", 0, -1) == [b"q"]
    assert connection.zrange(OPEN, 0, -1) == [b"q"]


def test_retention_starts_at_end(store, connection):
    """A final prediction expires one retention period after it ended."""
    store.add(a_prediction())
    ended = cancel(store)
    expires_ms = connection.zscore(EXPIRY, "p")

    assert expires_ms == (ended.finished_at + timedelta(days=7)).timestamp() * 1000
    assert store.claim_expired(100) == []
