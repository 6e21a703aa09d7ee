"""A Redis client whose callers share one connection: commands are sent as they come, and their replies are read in order.

redis-py takes a connection from a pool for each command, which costs an event loop ten times as much as the command.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import hiredis
import redis.asyncio
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff

from app.redis_link import RedisLink

REPLY_S = 15.0  # with thousands of callers an event loop may read a reply seconds late
RETRY_FOR_S = 5.0  # no retry begins later: without a route, each takes seconds to fail
IN_FLIGHT = 1000  # commands without a reply
_BACKOFF = ExponentialBackoff(cap=0.5, base=0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Command:
    """A command that waits for its reply."""

    name: str
    packed: bytes
    options: dict[str, Any]  # of redis-py, for the form of the reply
    reply: "asyncio.Future[Any]"
    created_s: float  # on the clock of the event loop


class SharedRedis(redis.asyncio.Redis):
    """redis-py's client for one event loop, whose commands share one connection. None of them may block.

    redis-py's pool only makes its connections.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._waiting: deque[_Command] = deque()
        self._sent: deque[_Command] = deque()  # in the order of their replies
        self._link: RedisLink | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._failures = 0  # since the last reply
        self._timer: asyncio.TimerHandle | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command, and return its reply. It may run twice if the connection is lost meanwhile. Raises RedisError."""
        loop = asyncio.get_running_loop()
        command = _Command(
            name=args[0],
            packed=hiredis.pack_command(args),
            options=options,
            reply=loop.create_future(),
            created_s=loop.time(),
        )
        self._waiting.append(command)
        if self._link is None:
            self._connect_soon()
        elif len(self._waiting) == 1:  # those of one round of the event loop go together
            loop.call_soon(self._send)
        return await command.reply

    async def open_link(
        self, on_reply: Callable[[Any], None], on_lost: Callable[[Exception], None]
    ) -> RedisLink:
        """Open another connection, which the caller closes. Raises RedisError."""
        connection: Connection = self.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py is untyped here
        connection.retry = Retry(NoBackoff(), 0)  # the caller retries
        try:
            async with asyncio.timeout(REPLY_S):
                await connection.connect()  # type: ignore[no-untyped-call]  # redis-py is untyped here
        except TimeoutError:
            raise redis.TimeoutError("Redis does not answer") from None
        return RedisLink(connection, on_reply, on_lost)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close the connections. Commands that wait fail."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        self._drop_link()
        _fail((*self._sent, *self._waiting), redis.ConnectionError("the client is closed"))
        self._sent.clear()
        self._waiting.clear()
        await super().aclose(close_connection_pool is not False)

    def _connect_soon(self) -> None:
        if self._connecting is None:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        """Connect, as long as commands wait. redis-py authenticates, and asks the Sentinels."""
        try:
            while self._waiting and self._link is None:
                if self._failures:
                    await asyncio.sleep(_BACKOFF.compute(self._failures))
                try:
                    self._link = await self.open_link(self._receive, self._reconnect)
                except redis.ConnectionError as exc:
                    self._failures += 1
                    self._fail_late(exc)
                except redis.RedisError as exc:  # after a timeout a retry would take as long
                    _fail(self._waiting, exc)
                    self._waiting.clear()
                else:
                    self._send()
        finally:
            self._connecting = None

    def _send(self) -> None:
        """Send the commands that wait."""
        if self._link is None:
            return
        packed = []
        while self._waiting and len(self._sent) < IN_FLIGHT:
            command = self._waiting.popleft()
            if not command.reply.done():  # its caller waits
                self._sent.append(command)
                packed.append(command.packed)
        if packed:
            self._link.send(b"".join(packed))
            if self._timer is None:
                self._check_at(self._sent[0].created_s + REPLY_S)

    def _receive(self, reply: Any) -> None:
        """Give a reply to the caller of the oldest command."""
        if isinstance(reply, hiredis.PushNotification):
            return  # of the server: none was asked for
        if isinstance(reply, redis.ConnectionError) or self._is_from_old_master(reply):
            self._drop_link()
            self._reconnect(reply)
            return
        self._failures = 0
        command = self._sent.popleft()
        if self._waiting:
            self._send()
        if command.reply.done():
            return
        try:
            command.reply.set_result(self._convert(command, reply))
        except Exception as exc:  # noqa: BLE001 -- raised in the caller
            command.reply.set_exception(exc)

    def _convert(self, command: _Command, reply: Any) -> Any:
        """Return a reply in the form that redis-py gives it. Raises the error that it is."""
        if isinstance(reply, Exception):
            raise reply
        if (callback := self.response_callbacks.get(command.name)) is None:
            return reply
        command.options.pop("keys", None)  # of redis-py's cache
        return callback(reply, **command.options)

    def _is_from_old_master(self, reply: Any) -> bool:
        """Return whether the Sentinels have to be asked for the master again."""
        is_read_only = isinstance(reply, redis.ReadOnlyError)
        return is_read_only and self._link is not None and self._link.is_managed

    def _reconnect(self, exc: Exception) -> None:
        """Send the commands without a reply again over a new connection."""
        self._link = None
        self._failures += 1
        self._waiting.extendleft(reversed(self._sent))
        self._sent.clear()
        self._fail_late(exc)
        if self._waiting:
            self._connect_soon()

    def _check_at(self, at_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(at_s, self._check_replies)

    def _check_replies(self) -> None:
        """Fail all commands if the oldest has had no reply for too long: a retry would take as long."""
        self._timer = None
        if not self._sent:
            return
        due_s = self._sent[0].created_s + REPLY_S
        if asyncio.get_running_loop().time() < due_s:
            self._check_at(due_s)
            return
        self._drop_link()  # a late reply would be taken for that of another command
        _fail(self._sent, redis.TimeoutError("Redis does not reply"))
        self._sent.clear()
        if self._waiting:
            self._connect_soon()

    def _drop_link(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    def _fail_late(self, exc: Exception) -> None:
        """Fail the commands that are too old to be sent again."""
        oldest_s = asyncio.get_running_loop().time() - RETRY_FOR_S
        _fail((command for command in self._waiting if command.created_s <= oldest_s), exc)
        self._waiting = deque(command for command in self._waiting if not command.reply.done())


def _fail(commands: Iterable[_Command], exc: Exception) -> None:
    """Raise an error in the callers that still wait."""
    for command in commands:
        if not command.reply.done():
            command.reply.set_exception(exc)
