"""A Redis client whose callers share one connection: the commands that wait are sent together, and their replies are read in order.

redis-py takes a connection from a pool for each command, which costs an event loop ten times as much as the command.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import hiredis
import redis.asyncio
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff

REPLY_S = 15.0  # with thousands of callers an event loop may read a reply seconds late
RETRY_FOR_S = 5.0  # no retry begins later: without a route, each takes seconds to fail
PART = 1000  # commands that are sent together
_BACKOFF = ExponentialBackoff(cap=0.5, base=0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Command:
    """A command that waits for its reply."""

    name: str
    packed: bytes
    options: dict[str, Any]  # of redis-py, for the form of the reply
    reply: "asyncio.Future[Any]"
    retry_until: float  # on the clock of the event loop


class SharedRedis(redis.asyncio.Redis):
    """redis-py's client for one event loop, whose commands share one connection. None of them may block.

    Pipelines and subscriptions still take connections from the pool.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._waiting: deque[_Command] = deque()
        self._sent: deque[_Command] = deque()  # in the order of their replies
        self._sending: asyncio.Task[None] | None = None  # while commands wait
        self._shared: Connection | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command, and return its reply. It may run twice if the connection is lost meanwhile. Raises RedisError."""
        loop = asyncio.get_running_loop()
        command = _Command(
            name=args[0],
            packed=hiredis.pack_command(args),
            options=options,
            reply=loop.create_future(),
            retry_until=loop.time() + RETRY_FOR_S,
        )
        self._waiting.append(command)
        if self._sending is None:
            self._sending = loop.create_task(self._send_waiting())
        return await command.reply

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close the connections. Commands that wait fail."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait({self._sending})
            self._fail_all()  # one that had not begun did not
        if self._shared is not None:
            await self._shared.disconnect()
        await super().aclose(close_connection_pool is not False)

    async def _send_waiting(self) -> None:
        """Send commands until none waits. redis-py closes a connection on which sending or reading failed."""
        failures = 0
        try:
            while self._waiting or self._sent:
                try:
                    async with asyncio.timeout(REPLY_S):
                        await self._exchange()
                    failures = 0
                except redis.ConnectionError as exc:
                    failures += 1
                    now = asyncio.get_running_loop().time()
                    _fail((c for c in self._sent if now >= c.retry_until), exc)
                    await asyncio.sleep(_BACKOFF.compute(failures))
                except TimeoutError:  # a retry would take as long
                    _fail(self._sent, redis.TimeoutError("Redis does not reply"))
        finally:
            self._sending = None
            if self._sent:  # the client is closed, or a reply could not be converted
                if self._shared:  # later replies would be taken for those of others
                    await self._shared.disconnect(nowait=True)
                self._fail_all()

    async def _exchange(self) -> None:
        """Send the commands that wait, and read their replies. Those whose connection was lost are sent again."""
        self._sent = deque(command for command in self._sent if not command.reply.done())
        while self._waiting and len(self._sent) < PART:
            self._sent.append(self._waiting.popleft())
        connection = self._shared = self._shared or self._make_connection()
        await connection.send_packed_command(
            [command.packed for command in self._sent], check_health=False
        )
        while self._sent:
            command = self._sent[0]
            try:
                reply = await self.parse_response(connection, command.name, **command.options)
            except redis.ResponseError as exc:
                _fail([command], exc)
            else:
                if not command.reply.done():
                    command.reply.set_result(reply)
            self._sent.popleft()

    def _make_connection(self) -> Connection:
        connection: Connection = self.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py is untyped here
        connection.retry = Retry(NoBackoff(), 0)  # `_send_waiting` retries
        connection.socket_timeout = None  # and limits the time, for all replies at once
        return connection

    def _fail_all(self) -> None:
        _fail((*self._sent, *self._waiting), redis.ConnectionError("the client is closed"))
        self._sent.clear()
        self._waiting.clear()


def _fail(commands: Iterable[_Command], exc: Exception) -> None:
    """Raise an error in the callers that still wait."""
    for command in commands:
        if not command.reply.done():
            command.reply.set_exception(exc)
