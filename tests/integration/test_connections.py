"""The ways to connect to Redis, each against real servers."""

import asyncio
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from app.connections import open_redis, open_shared
from app.embedded import server_binary
from benchmarks.processes import free_port
from tests.support import processes
from tests.support.api_client import until
from tests.support.tls_proxy import tls_front, write_certificate
from worker.thread_connections import ThreadConnections


@contextmanager
def server(folder: Path, *options: str) -> Iterator[processes.Process]:
    """Run a server in a folder of its own while the body runs."""
    folder.mkdir()
    command = [server_binary(), *options, "--dir", str(folder), "--save", ""]
    with processes.started(command, stdout=subprocess.DEVNULL) as process:
        yield process


def answers(connection: "redis.Redis") -> bool:
    try:
        return bool(connection.ping())
    except redis.RedisError:
        return False


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return write_certificate(tmp_path)


async def test_rediss_url_verifies_certificate(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    """`rediss://` checks the certificate, and sends the password only after the check succeeds."""
    chain, port = certificate[0], free_port()
    plain = ("--port", str(port), "--requirepass", "secret")
    with server(tmp_path / "server", *plain), tls_front(certificate, port) as front:
        url = f"rediss://:secret@127.0.0.1:{front}/0"
        known = open_redis(f"{url}?ssl_ca_certs={chain}")
        unknown = open_redis(url, retry=None)
        readers = open_shared(f"{url}?ssl_ca_certs={chain}")

        assert await asyncio.to_thread(lambda: until(lambda: answers(known)))
        assert await readers.ping()
        with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            await asyncio.to_thread(unknown.ping)
        await readers.aclose()
        unknown.close()
        known.close()


class Watched:
    """A master, its replica, and one Sentinel that may decide alone."""

    def __init__(
        self, folder: Path, stack: ExitStack, certificate: tuple[Path, Path] | None = None
    ) -> None:
        self.ports = [free_port() for _ in range(3)]
        master, replica, sentinel = self.ports
        shown = stack.enter_context(tls_front(certificate, master)) if certificate else master
        secret = [
            "--requirepass",
            "secret",
            "--masterauth",
            "secret",
            "--repl-diskless-sync-delay",
            "0",
        ]
        self.master = stack.enter_context(server(folder / "master", "--port", str(master), *secret))
        follow = ["--replicaof", f"127.0.0.1 {master}"]
        stack.enter_context(server(folder / "replica", "--port", str(replica), *follow, *secret))
        (folder / "sentinel.conf").write_text(
            f"port {sentinel}\n"
            f"sentinel monitor klein 127.0.0.1 {shown} 1\n"
            "sentinel auth-pass klein secret\n"
            "sentinel down-after-milliseconds klein 500\n"
            "sentinel failover-timeout klein 2000\n"
        )
        configuration = str(folder / "sentinel.conf")
        stack.enter_context(server(folder / "sentinel", configuration, "--sentinel"))
        self.url = f"redis+sentinel://:secret@127.0.0.1:1,127.0.0.1:{sentinel}/klein/0"
        if certificate:
            front = stack.enter_context(tls_front(certificate, sentinel))
            self.url = f"rediss+sentinel://:secret@127.0.0.1:{front}/klein/0"
        until(lambda: self._replicas() == "online")

    def _replicas(self) -> Any:
        url = f"redis://:secret@127.0.0.1:{self.ports[0]}"
        try:
            with redis.Redis.from_url(url, retry=None) as master:
                state = master.info("replication").get("slave0", {})
            with redis.Redis(port=self.ports[2], retry=None) as sentinel:  # type: ignore[arg-type]  # redis-py takes None, its types do not
                known = sentinel.execute_command("SENTINEL", "REPLICAS", "klein")
        except redis.RedisError:
            return None
        return state.get("state") if known else None


def hang_up(connection: "redis.Redis") -> None:
    """Close a connection, and its connections to the Sentinels."""
    connection.close()
    for sentinel in connection.connection_pool.sentinel_manager.sentinels:  # type: ignore[attr-defined]  # a Sentinel pool has it
        sentinel.close()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with ExitStack() as stack:
        yield Watched(tmp_path, stack)


async def test_sentinel_failover_reconnects(watched: Watched) -> None:
    """After the master dies, open connections write to the master that the Sentinels name."""
    connection, readers = open_redis(watched.url, timeout_s=1), open_shared(watched.url)
    connection.set("written", "before")
    assert await readers.get("written") == b"before"
    until(lambda: connection.wait(1, 1000))

    watched.master.kill()

    def written() -> bool:
        try:
            return bool(connection.set("later", "after"))
        except redis.RedisError:
            return False

    assert until(written)
    assert await readers.mget("written", "later") == [b"before", b"after"]
    assert connection.info("server")["tcp_port"] == watched.ports[1]
    await readers.aclose()
    hang_up(connection)


def test_kept_connection_follows_failover(watched: Watched) -> None:
    """A thread of the worker, whose connection is kept, writes to the new master as well."""
    client = ThreadConnections(watched.url, timeout_s=1)
    client.set("written", "before")
    until(lambda: client.wait(1, 1000))

    watched.master.kill()

    def written() -> bool:
        try:
            return bool(client.set("later", "after"))
        except redis.RedisError:
            return False

    assert until(written)
    assert client.info("server")["tcp_port"] == watched.ports[1]
    hang_up(client)


def test_late_reply_is_not_taken_for_the_next_one(watched: Watched) -> None:
    """A reply that comes after the time limit of its command belongs to no other command of the thread."""
    client = ThreadConnections(watched.url, timeout_s=0.3)
    client.set("key", "value")
    with redis.Redis(port=watched.ports[0], password="secret") as other:
        other.client_pause(600)
    with pytest.raises(redis.TimeoutError):
        client.append("key", "s")
    until(lambda: answers(client))

    assert client.echo("own reply") == b"own reply"
    hang_up(client)


async def test_sentinel_tls_verifies_certificates(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    """`rediss+sentinel://` checks the certificates of both against the authority that the URL names, and refuses others."""
    with ExitStack() as stack:
        url = Watched(tmp_path, stack, certificate).url
        known = open_redis(f"{url}?ssl_ca_certs={certificate[0]}")
        readers = open_shared(f"{url}?ssl_ca_certs={certificate[0]}")
        unknown = open_redis(url, retry=None)

        known.set("written", "by TLS")
        assert await readers.get("written") == b"by TLS"
        with pytest.raises(redis.ConnectionError):
            unknown.ping()
        await readers.aclose()
        for connection in (known, unknown):
            hang_up(connection)


@pytest.mark.parametrize(
    "url",
    ["redis+sentinel://host:26379", "redis+sentinel:///klein", "redis+sentinel://host/klein/x"],
)
def test_incomplete_sentinel_url_is_refused(url: str) -> None:
    """The error names the setting and shows the form."""
    with pytest.raises(ValueError, match=r"REDIS_URL.*SERVICE"):
        open_redis(url)
