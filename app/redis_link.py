"""Takes over a connection that redis-py has opened, and hands out the replies on it as they arrive, without tasks and streams."""

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis
import redis
from redis.asyncio.connection import Connection

_NOTHING = object()


class RedisLink(asyncio.Protocol):
    """A connection to Redis. redis-py has connected and authenticated it, and closes it."""

    def __init__(
        self,
        connection: Connection,
        on_reply: Callable[[Any], None],
        on_lost: Callable[[Exception], None],
    ) -> None:
        """`on_reply` gets each reply in order, with errors and messages of channels. `on_lost` is called once, unless the link was closed."""
        parser, writer = connection._parser, connection._writer  # noqa: SLF001 -- redis-py gives no other access
        self._connection = connection
        self._on_reply = on_reply
        self._on_lost = on_lost
        self._reader = hiredis.Reader(
            protocolError=redis.InvalidResponse,
            replyError=parser.parse_error,
            notEnoughData=_NOTHING,
        )
        self._transport: asyncio.WriteTransport = writer.transport  # type: ignore[union-attr]  # it is connected
        self._transport.set_protocol(self)
        self._is_open = True

    @property
    def is_managed(self) -> bool:
        """Return whether Sentinels name the server."""
        return hasattr(self._connection, "connection_pool")

    def send(self, commands: bytes) -> None:
        """Send packed commands."""
        self._transport.write(commands)

    def close(self) -> None:
        """Close the connection. No reply comes any more."""
        self._is_open = False
        self._transport.abort()
        self._connection._close()  # type: ignore[no-untyped-call]  # noqa: SLF001 -- `disconnect` waits for streams that do not hear of the end

    def data_received(self, data: bytes) -> None:
        """Hand out the replies that are complete."""
        self._reader.feed(data)
        try:
            while self._is_open and (reply := self._reader.gets()) is not _NOTHING:
                self._on_reply(reply)
        except redis.InvalidResponse as exc:
            self._lose(redis.ConnectionError(str(exc)))

    def connection_lost(self, exc: Exception | None) -> None:
        """Report that the server closed the connection."""
        self._lose(redis.ConnectionError(f"Redis closed the connection: {exc or 'without error'}"))

    def _lose(self, exc: Exception) -> None:
        if self._is_open:
            self.close()
            self._on_lost(exc)
