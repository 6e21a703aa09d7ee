"""The ways to reach Redis, each against real servers."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from app.connections import open_readers, open_redis
from app.embedded import server_binary
from deploy.bench.processes import free_port
from tests.acceptance.asking import until

pytestmark = pytest.mark.timeout(60)


@contextmanager
def server(folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server with a folder of its own while the body runs."""
    folder.mkdir()
    command = [server_binary(), *options, "--dir", str(folder), "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def answers(connection: "redis.Redis") -> bool:
    try:
        return bool(connection.ping())
    except redis.RedisError:
        return False


@asynccontextmanager
async def tls_front(certificate: tuple[Path, Path], port: int) -> AsyncIterator[int]:
    """Speak TLS before a server, as a managed one does: klein's own binary is built without it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    serving: set[Any] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with suppress(OSError):
            inner = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(pass_on(reader, inner[1]), pass_on(inner[0], writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as front:
        yield front.sockets[0].getsockname()[1]
        await asyncio.gather(*serving)  # its clients have hung up


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "klein test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, SHA256())
    )
    paths = tmp_path / "tls.pem", tmp_path / "tls.key"
    paths[0].write_bytes(made.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


async def test_a_managed_url_is_spoken_to_by_tls(
    tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    """`rediss://` checks the certificate, and sends the password only to who shows it."""
    chain, port = certificate[0], free_port()
    plain = ("--port", str(port), "--requirepass", "secret")
    with server(tmp_path / "server", *plain):
        async with tls_front(certificate, port) as front:
            url = f"rediss://:secret@127.0.0.1:{front}/0"
            known = open_redis(f"{url}?ssl_ca_certs={chain}")
            unknown = open_redis(url, retry=None)
            readers = open_readers(f"{url}?ssl_ca_certs={chain}", 2)

            assert await asyncio.to_thread(lambda: until(lambda: answers(known)))
            assert await readers.ping()
            with pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
                await asyncio.to_thread(unknown.ping)
            await readers.aclose()
            unknown.close()
            known.close()


class Watched:
    """A master, its replica, and one Sentinel that may decide alone."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.ports = [free_port() for _ in range(3)]
        master, replica, sentinel = self.ports
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
            f"sentinel monitor klein 127.0.0.1 {master} 1\n"
            "sentinel auth-pass klein secret\n"
            "sentinel down-after-milliseconds klein 500\n"
            "sentinel failover-timeout klein 2000\n"
        )
        configuration = str(folder / "sentinel.conf")
        stack.enter_context(server(folder / "sentinel", configuration, "--sentinel"))
        self.url = f"redis+sentinel://:secret@127.0.0.1:1,127.0.0.1:{sentinel}/klein/0"
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


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with ExitStack() as stack:
        yield Watched(tmp_path, stack)


async def test_sentinels_lead_to_the_new_master(watched: Watched) -> None:
    """After the master dies, the connections that were open write to the one that the Sentinels name."""
    connection, readers = open_redis(watched.url, timeout_s=1), open_readers(watched.url, 2)
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
    connection.close()
    for sentinel in connection.connection_pool.sentinel_manager.sentinels:  # type: ignore[attr-defined]  # a Sentinel pool has it
        sentinel.close()


@pytest.mark.parametrize(
    "url",
    ["redis+sentinel://host:26379", "redis+sentinel:///klein", "redis+sentinel://host/klein/x"],
)
def test_a_sentinel_url_that_lacks_something_is_said(url: str) -> None:
    """The refusal names the setting and shows the form."""
    with pytest.raises(ValueError, match=r"REDIS_URL.*SERVICE"):
        open_redis(url)
