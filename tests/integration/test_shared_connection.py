"""Commands of many callers over one connection, against a real Redis."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from app import shared_connection
from app.connections import open_shared
from app.redis_link import RedisLink
from app.shared_connection import SharedRedis
from tests.support.redis_server import RedisServer, running_redis


@pytest.fixture
async def shared(redis_server: RedisServer) -> AsyncIterator[SharedRedis]:
    client = open_shared(redis_server.url)
    yield client
    await client.aclose()


async def together(*calls: Any) -> list[Any]:
    """Call at once, and return replies and errors."""
    return list(await asyncio.gather(*calls, return_exceptions=True))


def unreadable(response: Any, **_options: Any) -> Any:
    raise KeyError(response)


async def test_each_caller_gets_its_reply(shared: SharedRedis, connection: "redis.Redis") -> None:
    """A thousand callers at once each get their own reply, over one connection."""
    connection.mset({f"k{n}": n for n in range(1000)})
    before = connection.info("stats")["total_connections_received"]
    replies = await asyncio.gather(*(shared.get(f"k{n}") for n in range(1000)))

    assert replies == [str(n).encode() for n in range(1000)]
    assert connection.info("stats")["total_connections_received"] == before + 1


async def test_error_concerns_its_caller(shared: SharedRedis) -> None:
    """An error of Redis is raised in the caller whose command it answers, and in no other."""
    await shared.set("text", "a")
    first, error, last = await together(
        shared.get("text"), shared.lpush("text", "b"), shared.get("text")
    )

    assert (first, last) == (b"a", b"a")
    assert isinstance(error, redis.ResponseError)


async def test_wrong_argument_concerns_its_caller(shared: SharedRedis) -> None:
    """An argument that cannot be sent is raised in its caller, and in no other."""
    first, error, last = await together(
        shared.echo("a"), shared.execute_command("ECHO", object()), shared.echo("b")
    )

    assert (first, last) == (b"a", b"b")
    assert isinstance(error, TypeError)


async def test_cancelled_caller_leaves_the_others_their_replies(shared: SharedRedis) -> None:
    """A caller that no longer waits takes no reply of another one."""
    await shared.set("text", "a")
    before = (await shared.info("stats"))["total_connections_received"]
    calls = [asyncio.ensure_future(shared.echo(str(n))) for n in range(4)]
    for _ in range(2):  # until they are sent
        await asyncio.sleep(0)
    calls[1].cancel()
    replies = await asyncio.gather(*calls, return_exceptions=True)

    assert [replies[0], *replies[2:]] == [b"0", b"2", b"3"]
    assert await shared.get("text") == b"a"
    assert (await shared.info("stats"))["total_connections_received"] == before


async def test_command_of_a_cancelled_caller_is_not_sent(shared: SharedRedis) -> None:
    """A caller that is cancelled before its command was sent changes nothing."""
    call = asyncio.ensure_future(shared.rpush("list", "a"))
    await asyncio.sleep(0)
    call.cancel()

    assert await shared.llen("list") == 0


@pytest.mark.parametrize(("error", "is_managed"), [("LOADING", False), ("READONLY", True)])
async def test_server_that_cannot_serve_yet_is_asked_again(
    shared: SharedRedis, monkeypatch: pytest.MonkeyPatch, error: str, *, is_managed: bool
) -> None:
    """A command is sent again over a new connection to a server that loads its data, or to the master that Sentinels name."""
    monkeypatch.setattr(RedisLink, "is_managed", is_managed)
    script = (
        f"return redis.call('INCR', '{error}') < 3 and redis.error_reply('{error} for now') or 'ok'"
    )

    assert await shared.eval(script, 0) == b"ok"


async def test_server_that_only_reads_is_an_error(shared: SharedRedis) -> None:
    """Without Sentinels a server that takes no writes is an error of the caller."""
    with pytest.raises(redis.ReadOnlyError):
        await shared.eval(
            "redis.call('INCR', 'once') return redis.error_reply('READONLY for now')", 0
        )
    assert await shared.get("once") == b"1"


async def test_lost_connection_is_replaced(shared: SharedRedis, connection: "redis.Redis") -> None:
    """Commands are sent again over a new connection if Redis closes the old one."""
    await shared.set("text", "a")
    connection.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    assert await together(shared.get("text"), shared.get("text")) == [b"a", b"a"]


async def test_reply_that_cannot_be_read_breaks_no_order(shared: SharedRedis) -> None:
    """If a reply cannot be converted, its caller gets the error, and the others get their own replies."""
    shared.set_response_callback("PING", unreadable)
    replies = await together(shared.ping(), shared.echo("a"), shared.echo("b"))

    assert isinstance(replies[0], KeyError)
    assert replies[1:] == [b"a", b"b"]


async def test_commands_survive_a_restart() -> None:
    """Commands that come while Redis restarts are answered afterwards."""
    with running_redis() as server:
        client = open_shared(server.url)
        await client.set("text", "a")
        server.kill()
        calls = [asyncio.ensure_future(client.get("text")) for _ in range(3)]
        await asyncio.sleep(0.1)
        await asyncio.to_thread(server.start)

        assert await asyncio.gather(*calls) == [b"a"] * 3
        await client.aclose()


async def test_without_redis_calls_fail_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call fails when Redis is away for longer than its retries, and is not sent any more. Later calls are answered."""
    monkeypatch.setattr(shared_connection, "RETRY_FOR_S", 0.3)
    with running_redis() as server:
        client = open_shared(server.url)
        server.kill()
        with pytest.raises(redis.ConnectionError):
            await asyncio.ensure_future(client.rpush("list", "late"))
        await asyncio.to_thread(server.start)

        assert await client.ping()
        assert await together(client.llen("list")) == [0]
        await client.aclose()


async def test_silent_redis_fails_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls fail when Redis does not reply in time. A late reply is not taken for that of another command."""
    monkeypatch.setattr(shared_connection, "REPLY_S", 0.3)
    with running_redis() as server:
        client = open_shared(server.url)
        pid = (await client.info("server"))["process_id"]
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(redis.TimeoutError):
            await client.echo("first")
        os.kill(pid, signal.SIGCONT)

        assert await client.echo("second") == b"second"
        await client.aclose()


async def test_calls_fail_when_the_client_closes(redis_server: RedisServer) -> None:
    """A call that waits when the client is closed fails instead of waiting for ever."""
    client = open_shared(redis_server.url)
    call = asyncio.ensure_future(client.ping())
    await asyncio.sleep(0)
    await client.aclose()

    with pytest.raises(redis.ConnectionError):
        await call
