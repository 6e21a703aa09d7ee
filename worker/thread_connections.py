"""A Redis client for the few threads of a worker, each of which keeps its connection."""

import threading
from typing import Any

import hiredis
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.connections import COMMAND_S, open_redis


class ThreadConnections(redis.Redis):
    """redis-py's client with another way to execute a command: in a connection of its thread, opened at its first command.

    redis-py takes a connection out of its pool for each command, tests it and returns it, which takes as much processor
    time as the command itself, and as much again for retries in two layers and its metrics. Here a command whose
    connection is lost is sent once more, so the server may run it twice: klein's scripts allow that. Pipelines and
    subscriptions use the pool.
    """

    def __init__(self, url: str, timeout_s: float = COMMAND_S) -> None:
        """Open no connection yet. Raises ValueError for a URL that `open_redis` refuses."""
        once_more = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
        pool = open_redis(url, timeout_s, retry=once_more).connection_pool
        super().__init__(connection_pool=pool)
        self._of_thread = threading.local()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command, and return its reply. Raises RedisError."""
        name: str = args[0]
        packed = [hiredis.pack_command((*name.split(), *args[1:]))]
        try:
            return self._exchange(packed, name, options)
        except redis.ConnectionError:
            return self._exchange(packed, name, options)

    def _exchange(self, packed: list[bytes], name: str, options: dict[str, Any]) -> Any:
        connection = self._connection()
        try:
            connection.send_packed_command(packed)
            return self.parse_response(connection, name, **options)  # type: ignore[no-untyped-call]  # redis-py is untyped here
        except redis.ResponseError:
            raise
        except BaseException:
            connection.disconnect()  # a reply that comes later would be taken for that of the next command
            raise

    def _connection(self) -> Any:  # redis-py is untyped here
        """Return the connection of this thread, connected: after a failover to the new server."""
        client: redis.Redis | None = getattr(self._of_thread, "client", None)
        if client is None:  # which returns its connection to the pool once the thread has ended
            client = redis.Redis(
                connection_pool=self.connection_pool, single_connection_client=True
            )
            self._of_thread.client = client
        connection: Any = client.connection
        if not connection.is_connected:
            connection.connect()
        return connection
