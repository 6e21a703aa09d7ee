"""A real Redis for tests: the embedded server, on a socket of its own."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from app.embedded import server_command
from tests.support import processes


class RedisServer:
    """One server and its data. It can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self._command = server_command(self.socket)
        self._process: processes.Process | None = None

    def start(self) -> None:
        """Start the server, and wait until it has loaded its data."""
        self.begin()
        while True:
            try:
                with redis.Redis.from_url(self.url, retry=None) as connection:
                    connection.ping()
            except redis.ConnectionError:  # not ready yet; the test's own time limit ends this loop
                assert self._process is not None
                assert self._process.poll() is None
            else:
                return

    def begin(self, *options: str) -> None:
        """Start the server, and do not wait for it."""
        command = [*self._command, *options]
        self._process = processes.start(command, stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        assert self._process is not None
        processes.end(self._process)

    def connect(self) -> "redis.Redis":
        return redis.Redis.from_url(self.url)


@contextmanager
def running_redis() -> Iterator[RedisServer]:
    # a short path: a socket path may have at most 107 bytes
    with tempfile.TemporaryDirectory(prefix="klein-") as folder:
        server = RedisServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.kill()
