"""A Redis client for the few threads of a worker, each of which keeps its connection."""

import threading
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.connections import open_redis


class ThreadConnections(redis.Redis):
    """Sends the commands of each thread over a connection of its own, which is opened at its first command.

    redis-py takes a connection out of its pool for each command, tests it and returns it, which takes as much processor
    time as the command itself. Here a command whose connection is lost is sent once more, so the server may run it twice:
    klein's scripts allow that. Pipelines use the pool.
    """

    def __init__(self, url: str) -> None:
        """Open no connection yet. Raises ValueError for a URL that `open_redis` refuses."""
        once_more = Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,))
        super().__init__(connection_pool=open_redis(url, retry=once_more).connection_pool)
        self._of_thread = threading.local()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """Execute a command in the connection of this thread."""
        client: redis.Redis | None = getattr(self._of_thread, "client", None)
        if client is None:
            client = redis.Redis(
                connection_pool=self.connection_pool, single_connection_client=True
            )
            self._of_thread.client = client
        return client.execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py is untyped here
