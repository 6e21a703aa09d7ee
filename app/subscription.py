"""Subscribes to channels of Redis over a connection of its own, without redis-py's layers around each message."""

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis

from app.redis_link import RedisLink
from app.shared_connection import SharedRedis


class Subscription:
    """The channels of one event loop."""

    def __init__(
        self,
        connection: SharedRedis,
        on_message: Callable[[str, bytes], None],
        on_subscribed: Callable[[str], None],
    ) -> None:
        """Messages before `on_subscribed` of their channel are lost."""
        self._redis = connection
        self._on_message = on_message
        self._on_subscribed = on_subscribed
        self._link: RedisLink | None = None

    async def listen(self, *channels: str) -> None:
        """Hear these channels until the connection is lost. Raises RedisError then."""
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def end(exc: Exception) -> None:
            if not lost.done():
                lost.set_exception(exc)

        def hear(reply: Any) -> None:
            if isinstance(reply, Exception):
                end(reply)
                return
            kind, channel, content = reply
            if kind == b"message":
                self._on_message(channel.decode(), content)
            elif kind == b"subscribe":
                self._on_subscribed(channel.decode())

        link = await self._redis.open_link(hear, end)
        self._link = link
        try:
            self.add(*channels)
            await lost
        finally:
            self._link = None
            link.close()

    def add(self, *channels: str) -> bool:
        """Hear more channels. Return whether the connection is open, without which nothing is done."""
        return self._send("SUBSCRIBE", channels)

    def remove(self, *channels: str) -> None:
        """Hear these channels no more."""
        self._send("UNSUBSCRIBE", channels)

    def _send(self, command: str, channels: tuple[str, ...]) -> bool:
        if self._link is None:
            return False
        arguments: Any = (command, *channels)  # hiredis declares a tuple of one
        self._link.send(hiredis.pack_command(arguments))
        return True
