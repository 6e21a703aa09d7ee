"""Deliveries of several keys: what one key's receivers can take from another's."""

import itertools
import json
import socket
import threading
from contextlib import ExitStack

import pytest

from app.dns import MAX_PENDING_PER_OWNER, DnsLookup
from app.predictions.redis_keys import WEBHOOKS_DUE, delivery_key
from app.safe_http import SafeHttp
from app.webhooks.slots import CONCURRENT, CONCURRENT_PER_KEY, CONCURRENT_PER_RECEIVER
from tests.support.courier import Post
from tests.support.fakes import eventually, make_due
from tests.support.silent_host import silent_hosts
from tests.support.webhook_receiver import running_receiver, status

NEVER_S = 600  # a receiver that does not answer keeps its slot for the whole test


def count(hosts):
    return sum(len(host.connections) for host in hosts)


def urls(hosts, number, form="http://127.0.0.1:{}/"):
    """Return this many URLs, of all hosts in turn."""
    return [form.format(host.port) for host in itertools.islice(itertools.cycle(hosts), number)]


def names(host, *_):
    """Resolve every name to this machine."""
    return socket.getaddrinfo("127.0.0.1", _[0], type=socket.SOCK_STREAM)


@pytest.fixture
def post(connection):
    return Post(connection, within_s=NEVER_S)


@pytest.fixture
def post_with_names(connection):
    """A courier for which every host name is this machine."""
    return Post(connection, within_s=NEVER_S, http=SafeHttp(("127.0.0.1",), names))


def test_silent_receivers_of_one_key_delay_no_other(post):
    """200 webhooks of a key to eight silent receivers hold the slots of that key. Another key's webhook is sent."""
    with silent_hosts(8) as silent, running_receiver() as receiver, post.courier():
        post.owe_many(urls(silent, 200), "attacker")
        eventually(lambda: count(silent) == CONCURRENT_PER_KEY)
        post.owe(receiver.url)
        post.until_over()

        assert count(silent) == CONCURRENT_PER_KEY


def test_silent_receivers_of_many_keys_delay_no_other(post):
    """Ten keys with silent receivers leave a slot free. An eleventh key's webhooks are sent."""
    with silent_hosts(8) as silent, running_receiver() as receiver, post.courier():
        for number in range(10):
            post.owe_many(urls(silent, 50), f"attacker{number}")
        eventually(lambda: count(silent) >= CONCURRENT - CONCURRENT_PER_KEY)
        post.owe(receiver.url, "first")
        post.owe(receiver.url, "second")
        post.until_over("first")
        post.until_over("second")

        assert count(silent) < CONCURRENT


def test_backlog_of_one_host_costs_nothing(post):
    """800 webhooks to one silent host wait in line, and no poll touches them. Other webhooks are sent."""
    with silent_hosts(1) as silent, running_receiver() as receiver, post.courier():
        post.owe_many(urls(silent, 800), "attacker")
        eventually(lambda: count(silent) == CONCURRENT_PER_RECEIVER)
        post.owe(receiver.url, "other-receiver", "attacker")
        post.owe(receiver.url)
        post.until_over()
        eventually(lambda: len(receiver.calls) == 2)
        eventually(lambda: post.connection.zcount(WEBHOOKS_DUE, "-inf", "+inf") == 800)
        eventually(lambda: _lined_up(post.connection) == 800 - CONCURRENT_PER_RECEIVER)
        post.connection.config_resetstat()
        polls = post.connection.info("commandstats").get("cmdstat_evalsha", {"calls": 0})["calls"]
        eventually(lambda: _calls(post.connection, "evalsha") >= polls + 8)

        assert _calls(post.connection, "zpopmin", "get", "mget", "zadd") == 0
        assert count(silent) == CONCURRENT_PER_RECEIVER


def test_spellings_of_one_host_share_slots(post_with_names):
    """Forty names of one silent host get the slots of one receiver. The key's own other receivers, and others, are served."""
    post = post_with_names
    with silent_hosts(1) as silent, running_receiver() as receiver, post.courier():
        port = silent[0].port
        post.owe_many([f"http://s{k % 40}.test:{port}/" for k in range(320)], "attacker")
        eventually(lambda: count(silent) == CONCURRENT_PER_RECEIVER)
        post.owe(receiver.url)
        post.until_over()

        assert count(silent) == CONCURRENT_PER_RECEIVER
        assert post.due() == 320


def test_waiting_costs_no_attempt(connection):
    """Webhooks whose names do not resolve hold the look-ups of their key. The others wait, and none has had an attempt."""
    release = threading.Event()
    started = []

    def look_up(host, port, *_):
        if host.endswith(".stuck.test"):
            started.append(host)
            release.wait()
        return socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)

    http = SafeHttp(("127.0.0.1",), lookup=DnsLookup(within_s=NEVER_S, look_up=look_up))
    post = Post(connection, http=http)
    with running_receiver() as receiver, post.courier():
        port = receiver.url.rpartition(":")[2]
        ids = post.owe_many([f"http://n{k}.stuck.test:{port}/" for k in range(24)], "attacker")
        eventually(lambda: len(started) == MAX_PENDING_PER_OWNER)
        post.owe(f"http://victim.test:{port}/")
        post.until_over()

        assert len(started) == MAX_PENDING_PER_OWNER
        assert not connection.exists(*(delivery_key(i) for i in ids))
        release.set()
        eventually(lambda: post.due() == 0)
    assert [len(post.attempts(i, "attacker")) for i in ids] == [1] * 24


def test_rate_of_one_key_delays_no_other(connection):
    """A key gets its rate of deliveries, and no more. Another key's webhook is sent."""
    post = Post(connection, per_minute=60)
    with running_receiver() as receiver, running_receiver() as other, post.courier():
        post.owe_many([receiver.url] * 100, "attacker")
        eventually(lambda: len(receiver.calls) >= 6)
        post.owe(other.url)
        post.until_over()

        assert len(receiver.calls) < 6 + CONCURRENT_PER_RECEIVER + 6


def test_delivery_in_progress_is_not_sent_twice(post):
    """A delivery that is due again while it is being sent, as after a redelivery, is not sent at the same time."""
    released = threading.Event()

    def wait(handler):
        released.wait()
        status(200)(handler)

    with running_receiver(wait, status(200)) as receiver, post.courier():
        post.owe(receiver.url)
        eventually(lambda: receiver.calls)
        make_due(post.connection, "p", WEBHOOKS_DUE)
        eventually(lambda: post.connection.zscore(WEBHOOKS_DUE, "p") > 0)
        post.owe(receiver.url, "later")  # its line has passed the first one when this is sent
        eventually(lambda: len(receiver.calls) == 2)
        released.set()
        post.until_over()
        post.until_over("later")

    sent = [json.loads(call.body)["exec_id"] for call in receiver.calls]
    assert sent == ["p", "later"]


def test_shutdown_does_not_restore_deleted_delivery(post):
    """A delivery that is deleted while it is being sent does not come back when the courier stops."""
    with ExitStack() as stack:
        silent = stack.enter_context(silent_hosts(1))
        with post.courier():
            post.owe_many(urls(silent, 1), "key")
            eventually(lambda: count(silent) == 1)
            post.store.delete(post.store.get("key-0"))

        assert post.due() == 0


def _lined_up(connection):
    return sum(connection.zcard(key) for key in connection.scan_iter("klein:webhooks:line:*"))


def _calls(connection, *commands):
    stats = connection.info("commandstats")
    return sum(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"] for command in commands)
