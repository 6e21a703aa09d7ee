"""Waiting for an end, on a real Redis: waiters are woken at once by an end, and freed."""

import asyncio
import threading

import pytest

from app import shared_connection
from app.connections import open_shared
from app.predictions import scripts
from app.predictions.errors import ShuttingDown, Unavailable, UnknownPrediction
from app.predictions.prediction import Prediction, Status
from app.predictions.redis_keys import (
    CHANGED_CHANNEL,
    ENDED_CHANNEL,
    FINAL_CHANNEL,
    OPEN,
    record_key,
)
from app.predictions.watch import Watch
from app.records import Records
from tests.support.fakes import NOW, a_prediction, a_store, edited
from tests.support.redis_server import running_redis

NEVER_S = 3600.0
"""Between two polls, so that only announcements wake a waiter."""


@pytest.fixture
def store(connection):
    return a_store(connection)


class CountingWatch(Watch):
    """Counts its reads: whoever is woken reads the record."""

    def __init__(self, connection, poll_s):
        super().__init__(connection, poll_s, on_end=lambda name, _record: self.heard.add(name))
        self.reads = 0
        self.heard = set()

    async def read(self, prediction_id):
        prediction = await super().read(prediction_id)
        self.reads += 1
        return prediction


@pytest.fixture
async def watch(redis_server):
    async with open_shared(redis_server.url) as readers:
        watch = CountingWatch(readers, poll_s=NEVER_S)
        async with watch.listening():
            yield watch


def end(store, prediction_id="p"):
    return store.change(prediction_id, lambda p, now: p.cancel(now))


async def until(condition):
    """Wait until a condition is true. The test's own time limit ends this."""
    while not condition():  # noqa: ASYNC110 -- nothing announces it
        await asyncio.sleep(0.001)


async def until_listening(connection, watch):
    """Wait until the watch hears announcements. Before, the replies to its subscriptions wake all waiters."""
    await until(lambda: dict(connection.pubsub_numsub(FINAL_CHANNEL))[FINAL_CHANNEL.encode()] == 1)
    connection.publish(ENDED_CHANNEL, "marker\n")
    await until(lambda: "marker" in watch.heard)


async def test_wait_for_final_prediction_returns(watch, store):
    """A wait for a final prediction returns it."""
    store.add(a_prediction())
    ended = end(store)

    assert await watch.wait("p", 60) == ended


async def test_end_wakes_waiter(watch, store, connection):
    """The announcement of the end wakes the wait. It does not depend on a poll."""
    store.add(a_prediction())
    await until_listening(connection, watch)
    waiter = asyncio.create_task(watch.wait("p", 60))
    await until(lambda: watch.waiter_count == 1)
    ended = end(store)

    assert await waiter == ended
    assert watch.waiter_count == 0


@pytest.mark.parametrize("timeout", [0, 0.05])
async def test_wait_timeout_returns_current_state(watch, store, timeout):
    """At its timeout a wait returns the current prediction."""
    store.add(a_prediction())
    waiter = asyncio.create_task(watch.wait("p", timeout))
    running = store.change("p", lambda p, now: p.claim("a", now))

    assert (await waiter).status in ({running.status} if timeout else {"queued", "running"})
    assert watch.waiter_count == 0


async def test_wait_for_unknown_prediction_raises(watch):
    """Waiting for an unknown prediction raises, and leaves no waiter."""
    with pytest.raises(UnknownPrediction):
        await watch.wait("nobody", 60)

    assert watch.waiter_count == 0


async def test_one_end_wakes_two_hundred_waiters(watch, store, connection):
    """All waiters of a prediction get its end. Those of another keep waiting."""
    for prediction_id in ("p", "q"):
        store.add(a_prediction(prediction_id))
    await until_listening(connection, watch)
    waiters = [asyncio.create_task(watch.wait("p", 60)) for _ in range(200)]
    other = asyncio.create_task(watch.wait("q", 60))
    await until(lambda: watch.waiter_count == 201)
    ended = end(store)
    results = await asyncio.gather(*waiters)

    assert results == [ended] * 200
    assert not other.done()
    assert watch.waiter_count == 1
    end(store, "q")
    assert (await other).id == "q"


async def test_cancelled_waiter_is_freed(watch, store):
    """A cancelled waiter leaves nothing behind, while another one keeps waiting."""
    store.add(a_prediction())
    stays, *leave = [asyncio.create_task(watch.wait("p", 60)) for _ in range(50)]
    await until(lambda: watch.waiter_count == 50)
    for waiter in leave:
        waiter.cancel()
    await asyncio.gather(*leave, return_exceptions=True)
    assert watch.waiter_count == 1
    end(store)

    assert (await stays).status is Status.CANCELLED
    assert watch.watched == set()


async def test_waiters_are_counted_while_they_come_and_go(watch, store):
    """Another thread, as that of `/metrics`, counts the waiters while others come and go."""
    store.add(running := a_prediction("p"))
    stopping = threading.Event()

    def count_often():
        while not stopping.is_set():
            assert watch.waiter_count >= 0

    counting = asyncio.create_task(asyncio.to_thread(count_often))
    for _ in range(10):
        waiters = [asyncio.create_task(watch.wait(f"{k}", None, running)) for k in range(500)]
        await asyncio.sleep(0)
        assert watch.waiter_count == 500
        for waiter in waiters:
            waiter.cancel()
        await asyncio.wait(waiters)
    stopping.set()

    await counting
    assert watch.waiter_count == 0


async def test_follower_gets_each_change(watch, store, connection):
    """A follower gets the current state, each claim and step, and the end. Then the stream ends."""
    store.add(a_prediction())
    await until_listening(connection, watch)
    states = []
    changes = iter(
        (
            lambda p, now: p.claim("a", now),
            lambda p, _: p.advance("a", 1, 4),
            lambda p, _: p.advance("a", 2, 4),
            lambda p, now: p.cancel(now),
        )
    )
    async for prediction in watch.follow("p"):
        states.append((str(prediction.status), prediction.step))
        if not prediction.status.is_final:
            store.change("p", next(changes))

    assert states == [
        ("queued", 0),
        ("running", 0),
        ("running", 1),
        ("running", 2),
        ("cancelled", 2),
    ]
    assert watch.waiter_count == 0


async def test_steps_wake_only_followers(watch, store, connection):
    """A follower is woken by a step and not by a renewed lease. A waiter for the end is woken by neither."""
    store.add(a_prediction())
    await until_listening(connection, watch)
    following = watch.follow("p")
    await anext(following)
    store.change("p", lambda p, now: p.claim("a", now))
    await anext(following)
    before = watch.reads
    waiter = asyncio.create_task(watch.wait("p", 60))
    await until(lambda: watch.reads == before + 1)

    store.change("p", lambda p, now: p.renew("a", now))
    store.change("p", lambda p, _: p.advance("a", 1, 4))

    assert (await anext(following)).step == 1
    assert watch.reads == before + 2  # one by the waiter at its start, one by the follower
    ended = end(store)
    assert await anext(following) == ended
    assert await waiter == ended
    await following.aclose()


async def test_changes_are_heard_while_somebody_follows(redis_server, store, connection):
    """Changes before an end reach no process in which nobody follows a prediction."""
    store.add(a_prediction())

    def heard():
        return dict(connection.pubsub_numsub(CHANGED_CHANNEL))[CHANGED_CHANNEL.encode()]

    async with open_shared(redis_server.url) as readers:
        watch = CountingWatch(readers, poll_s=0.05)
        async with watch.listening():
            await until_listening(connection, watch)
            assert heard() == 0
            following = watch.follow("p")
            await anext(following)
            await until(lambda: heard() == 1)
            await following.aclose()
            await until(lambda: heard() == 0)


async def test_changes_are_heard_after_a_lost_connection(redis_server, store, connection):
    """A follower that begins before the subscription, or while its connection is replaced, gets the changes."""
    store.add(a_prediction())

    def heard():
        return dict(connection.pubsub_numsub(CHANGED_CHANNEL))[CHANGED_CHANNEL.encode()]

    async with open_shared(redis_server.url) as readers:
        watch = CountingWatch(readers, poll_s=NEVER_S)
        following = watch.follow("p")
        await anext(following)
        async with watch.listening():
            await until(lambda: heard() == 1)
            connection.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await until(lambda: heard() == 0)
            await until(lambda: heard() == 1)
            store.change("p", lambda p, now: p.claim("a", now))

            assert (await anext(following)).status is Status.RUNNING
            await following.aclose()


async def test_closed_stream_frees_follower(watch, store):
    """Closing a stream leaves nothing behind."""
    store.add(a_prediction())
    following = watch.follow("p")
    await anext(following)
    assert watch.waiter_count == 1
    await following.aclose()

    assert watch.watched == set()


async def test_shutdown_releases_waiters(watch, store):
    """On shutdown a timed wait returns the current state, a stream is closed, and an unlimited wait raises to try again."""
    store.add(a_prediction())
    polling = asyncio.create_task(watch.wait("p", 60))
    for_ever = asyncio.create_task(watch.wait("p", None))
    following = watch.follow("p")
    await anext(following)
    await until(lambda: watch.waiter_count == 3)
    watch.release_waiters(0.05)

    assert (await polling).status is Status.QUEUED
    with pytest.raises(StopAsyncIteration):
        await anext(following)
    with pytest.raises(ShuttingDown):
        await for_ever
    assert watch.waiter_count == 0


async def test_end_during_shutdown_is_delivered(watch, store):
    """An unlimited wait gets an end that comes during the shutdown."""
    store.add(a_prediction())
    waiter = asyncio.create_task(watch.wait("p", None))
    await until(lambda: watch.waiter_count == 1)
    watch.release_waiters(60)
    ended = end(store)

    assert await waiter == ended


@pytest.mark.parametrize("turns", range(1, 16))
async def test_waiter_can_be_cancelled_at_any_time(redis_server, store, turns):
    """A cancellation ends a wait even if redis-py swallows it, while it connects, sends or reads."""
    store.add(a_prediction())
    async with open_shared(redis_server.url) as readers:
        watch = Watch(readers)
        waiter = asyncio.create_task(watch.wait("p", None))
        for _ in range(turns):
            await asyncio.sleep(0)
        waiter.cancel()
        done, _ = await asyncio.wait({waiter})

        assert done == {waiter}
        assert waiter.cancelled()
        assert watch.waiter_count == 0


@pytest.mark.parametrize("turns", range(1, 16))
async def test_listener_can_stop_at_any_time(redis_server, turns):
    """The listener stops, whatever it is doing."""
    async with open_shared(redis_server.url) as readers, Watch(readers).listening():
        for _ in range(turns):
            await asyncio.sleep(0)


async def test_lost_announcement_costs_one_poll(redis_server, store, connection, monkeypatch):
    """If nobody announced the end, one check of all waiters finds it. The others read nothing."""
    for prediction_id in ("p", "q"):
        store.add(a_prediction(prediction_id))
    silent = edited(scripts.END, "redis.call('PUBLISH', channel,", "tostring(")
    monkeypatch.setattr(scripts, "END", silent)
    async with open_shared(redis_server.url) as readers:
        watch = CountingWatch(readers, poll_s=0.05)
        async with watch.listening():
            await until_listening(connection, watch)
            waiter = asyncio.create_task(watch.wait("p", 60))
            other = asyncio.create_task(watch.wait("q", 60))
            await until(lambda: watch.reads == 2)
            ended = end(store)

            assert await waiter == ended
            assert watch.reads == 3
            other.cancel()


async def test_end_brings_its_record(watch, store, connection):
    """A waiter that begins with the prediction as it was read, and gets the announced end, reads nothing."""
    store.add(a_prediction())
    await until_listening(connection, watch)
    queued = await watch.read("p")
    waiter = asyncio.create_task(watch.wait("p", 60, known=queued))
    await until(lambda: watch.waiter_count == 1)
    ended = end(store)

    assert await waiter == ended
    assert (
        await watch.wait("p", 60, known=queued) == ended
    )  # it ended between the read and the wait
    assert watch.reads == 1


async def test_end_announced_without_record_is_read(watch, store, connection):
    """The announcement of a worker of klein 0.1 names the prediction only, and the waiter reads it."""
    store.add(a_prediction())
    await until_listening(connection, watch)
    waiter = asyncio.create_task(watch.wait("p", 60))
    await until(lambda: watch.reads == 1)
    ended = store.get("p").cancel(NOW)
    with connection.pipeline() as pipe:
        pipe.set(record_key("p"), Records(Prediction).write(ended))
        pipe.publish(FINAL_CHANNEL, "p")
        pipe.execute()

    assert await waiter == ended
    assert watch.reads == 2


async def test_end_before_subscription_is_found(redis_server, store, connection):
    """A waiter whose prediction ended before the listener subscribed is woken after the subscription."""
    store.add(a_prediction())
    async with open_shared(redis_server.url) as readers:
        watch = Watch(readers, poll_s=NEVER_S)
        waiter = asyncio.create_task(watch.wait("p", 60))
        await until(lambda: watch.waiter_count == 1)
        ended = end(store)
        async with watch.listening():
            assert await waiter == ended


async def test_waiter_survives_redis_restart():
    """Redis is killed and restarted with its file. The waiter gets an end that comes after that."""
    with running_redis() as server, server.connect() as connection:
        store = a_store(connection)
        store.add(a_prediction())
        async with open_shared(server.url) as readers:
            watch = CountingWatch(readers, poll_s=NEVER_S)
            async with watch.listening():
                await until_listening(connection, watch)
                waiter = asyncio.create_task(watch.wait("p", 60))
                await until(lambda: watch.waiter_count == 1)
                server.kill()
                server.start()
                ended = end(store)

                assert await waiter == ended
        assert connection.zcard(OPEN) == 0


async def test_redis_outage_raises_unavailable(tmp_path, monkeypatch):
    """Without Redis neither a read nor a wait hangs, and no waiter is left."""
    monkeypatch.setattr(shared_connection, "RETRY_FOR_S", 0.0)
    async with open_shared(f"unix://{tmp_path}/none.sock") as readers:
        watch = Watch(readers)
        for act in (watch.read("p"), watch.wait("p", 60)):
            with pytest.raises(Unavailable):
                await act

    assert watch.waiter_count == 0
