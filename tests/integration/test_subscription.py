"""Channels over a connection of their own, against a real Redis."""

import asyncio

import pytest
import redis
from redis.exceptions import NoPermissionError

from app.connections import open_shared
from app.shared_connection import SharedRedis
from app.subscription import Subscription
from tests.support.redis_server import RedisServer


class Heard:
    """A subscription that notes what it hears."""

    def __init__(self, shared: SharedRedis) -> None:
        self.messages: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.subscribed: asyncio.Queue[str] = asyncio.Queue()
        self.subscription = Subscription(
            shared,
            lambda channel, data: self.messages.put_nowait((channel, data)),
            self.subscribed.put_nowait,
        )


@pytest.fixture(params=[2, 3])
def url(redis_server: RedisServer, request: pytest.FixtureRequest) -> str:
    return f"{redis_server.url}?protocol={request.param}"


async def test_messages_are_heard(url: str, connection: "redis.Redis") -> None:
    """Messages are heard in each channel that was confirmed, until it is removed, in both protocols of Redis."""
    async with open_shared(url) as shared:
        heard = Heard(shared)
        listening = asyncio.create_task(heard.subscription.listen("one"))
        assert await heard.subscribed.get() == "one"
        assert heard.subscription.add("two")
        assert await heard.subscribed.get() == "two"
        connection.publish("one", b"\xff1")
        connection.publish("two", "2")
        assert [await heard.messages.get() for _ in range(2)] == [("one", b"\xff1"), ("two", b"2")]
        heard.subscription.remove("one")
        heard.subscription.add("three")
        assert await heard.subscribed.get() == "three"

        assert connection.publish("one", "3") == 0
        listening.cancel()
        await asyncio.wait([listening])
        assert not heard.subscription.add("four")


async def test_lost_connection_is_an_error(url: str, connection: "redis.Redis") -> None:
    """If Redis closes the connection, listening raises, and can begin again."""
    async with open_shared(url) as shared:
        heard = Heard(shared)
        for _ in range(2):
            listening = asyncio.create_task(heard.subscription.listen("one"))
            await heard.subscribed.get()
            connection.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            with pytest.raises(redis.ConnectionError):
                await listening


async def test_refused_subscription_is_an_error(url: str, connection: "redis.Redis") -> None:
    """A channel that the user of Redis may not hear is an error."""
    connection.execute_command("ACL", "SETUSER", "deaf", "on", "nopass", "+@all", "resetchannels")
    async with open_shared(url) as shared:
        shared.connection_pool.connection_kwargs |= {"username": "deaf", "password": "x"}
        with pytest.raises(NoPermissionError):
            await Heard(shared).subscription.listen("one")
