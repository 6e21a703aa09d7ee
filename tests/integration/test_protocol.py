"""Hostile clients on real sockets: slow ones, and ones that send without end, are disconnected. Others are not."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPResponse
from typing import ClassVar

import httpx
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app.api.protocol import HEADERS_MAX_BYTES, DeadlineProtocol
from app.api.unserved import Limits, Unserved

HEAD = b"POST / HTTP/1.1\r\nHost: klein\r\n"
WHOLE = HEAD + b"Content-Length: 2\r\n\r\nok"
LARGE = 64 * 1024 * 1024
PATIENCE_S = 30.0
ENDLESS_BYTES = 16 * 1024 * 1024  # more than the buffers of the sockets hold


class Hasty(DeadlineProtocol):
    """The protocol with short deadlines."""

    GRACE_S = 0.3
    RATE = 100_000


async def app(scope, receive, send):
    """Read the body and answer with its length. The path can ask for a delay, a large answer, a head or an answer before the body."""
    assert scope["type"] == "http"
    if scope["path"] == "/early":
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b"no"})
        return
    if scope["path"] == "/stream":
        headers = [(b"content-length", b"1")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
    length = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message["body"])
        more = message["more_body"]
    if scope["path"] == "/later":
        await asyncio.sleep(1)
    body = b"x" * LARGE if scope["path"] == "/large" else str(length).encode()
    if scope["path"] != "/stream":
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(protocol) -> Iterator[int]:
    """Serve the app on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, http=protocol, ws="none", lifespan="off", log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


@pytest.fixture(scope="module")
def port():
    with serving(Hasty) as port:
        yield port


def talk(port, start=b"", drip=b"", pause_s=0.05, patience_s=PATIENCE_S):
    """Send the start, then one byte at a time without end. Return what the server sent before it closed the connection."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(pause_s)
        client.sendall(start)
        for _ in range(int(patience_s / pause_s)):
            try:
                client.sendall(drip)
                if not (data := client.recv(1 << 16)):
                    return bytes(received)
                received += data
            except TimeoutError:
                continue
            except OSError:
                return bytes(received)
    pytest.fail("the server did not close the connection")


def answer_of(client):
    """Read one whole answer. Return its status and its body."""
    answer = HTTPResponse(client)
    answer.begin()
    return answer.status, answer.read()


SLOW = {
    "nothing": (b"", b""),
    "dripping headers": (HEAD, b"X: y\r\n"),
    "dripping one header": (HEAD + b"X: ", b"y"),
    "empty lines": (b"", b"\r\n"),
    "a body that stops": (HEAD + b"Content-Length: 1000\r\n\r\n", b""),
    "a dripping body": (HEAD + b"Content-Length: 1000000\r\n\r\n", b"x"),
    "dripping chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "empty lines after an answer": (WHOLE, b"\r\n"),
    "a second request that drips": (WHOLE + HEAD, b"X: y\r\n"),
}


@pytest.mark.parametrize(("start", "drip"), SLOW.values(), ids=list(SLOW))
def test_slow_client_is_disconnected(port, start, drip):
    """Whatever part of the request comes too slowly, the connection is closed, and at most one whole request was answered."""
    assert talk(port, start, drip).count(b"200 OK") == (1 if start.startswith(WHOLE) else 0)


@pytest.mark.parametrize("kind", ["dripping headers", "a dripping body"])
def test_uvicorn_alone_never_disconnects(kind):
    """Without the deadlines the same clients keep their connections, so the test above can fail."""
    start, drip = SLOW[kind]
    with serving(HttpToolsProtocol) as port, pytest.raises(pytest.fail.Exception):
        talk(port, start, drip, patience_s=1.5)


def test_slow_response_is_not_slow_client(port):
    """A complete request may be answered later than any deadline."""
    request = WHOLE.replace(b"POST /", b"POST /later").replace(
        b"Host", b"Connection: close\r\nHost"
    )

    assert talk(port, request).endswith(b"\r\n\r\n2")


def test_slow_body_above_minimum_rate_is_read():
    """A body above the minimum rate is read to its end, however long that takes."""

    class Patient(Hasty):
        RATE = 10_000  # a twentieth of the pace below

    chunk = b"x" * 20_000
    with (
        serving(Patient) as port,
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        client.sendall(HEAD + b"Content-Length: 200000\r\n\r\n")
        for _ in range(10):
            client.sendall(chunk)
            threading.Event().wait(0.1)

        assert answer_of(client) == (200, b"200000")


def test_client_that_does_not_read_is_disconnected():
    """A client that reads nothing of a large answer loses its connection."""

    class Brief(Hasty):
        RATE = 1 << 30

    with serving(Brief) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(WHOLE.replace(b"POST /", b"POST /large"))
        threading.Event().wait(1)
        received_bytes = 0
        with suppress(OSError):
            while data := client.recv(1 << 20):
                received_bytes += len(data)

        assert received_bytes < LARGE


def test_oversized_headers_are_refused(port):
    """Headers over the limit get a 431, complete or not."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(HEAD + b"X: " + b"y" * (HEADERS_MAX_BYTES + 1))

        assert client.recv(1000).startswith(b"HTTP/1.1 431 ")


def test_pipelined_request_may_have_large_body():
    """Headers that arrive with the end of the previous request count as headers. What follows is a body."""
    large = b"x" * (HEADERS_MAX_BYTES + 1)
    start = HEAD + b"Content-Length: %d\r\n\r\n" % len(large)
    with serving(DeadlineProtocol) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(PATIENCE_S)
        client.sendall(WHOLE + start)
        first = answer_of(client)  # the server has read everything now
        client.sendall(large)
        second = answer_of(client)

    assert first == (200, b"2")
    assert second == (200, str(len(large)).encode())


CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "trailers": (CHUNKED + b"0\r\n", b"A: b\r\n" * 1000),
    "one trailer": (CHUNKED + b"0\r\nA: ", b"b" * 10_000),
    "an extension of a chunk": (CHUNKED + b"5;", b"b" * 10_000),
    "extensions of many chunks": (CHUNKED, (b"1;" + b"b" * 100 + b"\r\nx\r\n") * 100),
}


def pour(port, start, piece):
    """Send the start, then the piece again and again. Return what was sent and what came back."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.settimeout(PATIENCE_S)
        sent_bytes = 0
        with suppress(OSError):
            client.sendall(start)
            while sent_bytes < ENDLESS_BYTES:
                sent_bytes += client.send(piece)
        received = b""
        with suppress(OSError):
            client.settimeout(1)
            received = client.recv(1000)
        return sent_bytes, received


@pytest.mark.parametrize(("start", "piece"), ENDLESS.values(), ids=list(ENDLESS))
def test_endless_framing_is_refused(start, piece):
    """What is not the body counts against one limit. Without the protocol it is read without end."""
    with serving(DeadlineProtocol) as port:
        sent_bytes, received = pour(port, start, piece)
    with serving(HttpToolsProtocol) as port:
        sent_without_bytes, _ = pour(port, start, piece)

    assert received.startswith(b"HTTP/1.1 431 ")
    assert sent_bytes < ENDLESS_BYTES <= sent_without_bytes


def test_chunks_of_ordinary_clients_are_no_framing(port):
    """A body in many small chunks is read, because the frame of each chunk is free."""
    body = b"10\r\n" + b"x" * 16 + b"\r\n"
    request = CHUNKED.replace(b"Host", b"Connection: close\r\nHost") + body * 20_000 + b"0\r\n\r\n"

    assert talk(port, request).endswith(b"\r\n\r\n320000")


def test_trailers_are_ignored(port):
    """A trailer does not become a header, and the next request on the connection is answered."""
    trailed = CHUNKED + b"2\r\nab\r\n0\r\nX-Trailer: 9\r\n\r\n"

    last = WHOLE.replace(b"Host", b"Connection: close\r\nHost")

    assert talk(port, trailed + last).count(b"\r\n\r\n2") == 2


@pytest.mark.parametrize(
    "kind", ["Content-Length: 67108864\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"]
)
def test_rest_of_body_is_not_read_after_early_response(kind):
    """After a response that comes before the end of a large body, at most a megabyte is read. The client sees the response."""
    start = HEAD.replace(b"POST /", b"POST /early") + kind.encode()
    piece = b"10000\r\n" + b"x" * 0x10000 + b"\r\n" if "chunked" in kind else b"x" * 0x10000
    with serving(DeadlineProtocol) as port:
        sent_bytes, received = pour(port, start, piece)
    with serving(HttpToolsProtocol) as port:
        sent_without_bytes, _ = pour(port, start, piece)

    assert received.startswith(b"HTTP/1.1 401 ")
    assert b"connection: close" in received
    assert sent_bytes < ENDLESS_BYTES <= sent_without_bytes


@pytest.mark.parametrize("size", [100, 300_000, 20_000_000])
def test_ordinary_client_sees_early_response(size):
    """A client that sends its whole body first sees a response that came before, and can send again."""
    with serving(DeadlineProtocol) as port, httpx.Client(trust_env=False) as client:
        answers = [
            client.post(f"http://127.0.0.1:{port}/early", content=b"x" * size).text for _ in "ab"
        ]

    assert answers == ["no", "no"]


def is_closed(client):
    """Wait until the server has closed a connection."""
    client.settimeout(PATIENCE_S)
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True


def is_answered(client, rest):
    client.settimeout(PATIENCE_S)
    client.sendall(rest)
    return client.recv(1000).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("start", "limits"),
    [
        (b"", Limits(connections=3, size_bytes=30_000)),
        (HEAD + b"X: " + b"y" * 9000, Limits(connections=100, size_bytes=30_000)),
    ],
    ids=["silent", "headers"],
)
def test_oldest_unserved_connections_are_closed(start, limits):
    """Of connections without a whole request the oldest above a limit of count or bytes are closed. One whose request is being read, and the
    newest, are served.
    """

    class Few(DeadlineProtocol):
        unserved = Unserved(of_address=limits)

    with serving(Few) as port, ExitStack() as stack:

        def connect(first_bytes):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(first_bytes)
            return client

        served = connect(HEAD + b"Content-Length: 2\r\n\r\n")
        unserved = [connect(start) for _ in range(5)]

        assert [is_closed(client) for client in unserved[:2]] == [True, True]
        end = WHOLE if not start else b"\r\nContent-Length: 2\r\n\r\nok"
        assert [is_answered(client, end) for client in unserved[2:]] == [True] * 3
        assert is_answered(served, b"ok")


def test_idle_connections_are_unserved():
    """After a response a connection counts as unserved again, as the newest one. It does not while a request is served on it."""

    class Few(DeadlineProtocol):
        unserved = Unserved(of_address=Limits(connections=2, size_bytes=30_000))

    with serving(Few) as port, ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(2)
        ]
        for client in (clients[1], clients[0], clients[1]):
            assert is_answered(client, WHOLE)
        newest = stack.enter_context(socket.create_connection(("127.0.0.1", port)))

        assert is_closed(clients[0])
        assert is_answered(clients[1], WHOLE)
        assert is_answered(newest, WHOLE)


async def test_connections_share_names_of_their_attributes():
    """A connection has at most 30 attributes in its dictionary, up to which CPython keeps their names once for all."""
    config = uvicorn.Config(app, http=DeadlineProtocol, ws="none", lifespan="off")
    config.load()

    protocol = DeadlineProtocol(config=config, server_state=ServerState(), app_state={})

    assert len(vars(protocol)) <= 30


class Counted:
    """A transport that counts what is written at once."""

    def __init__(self, transport):
        self.transport = transport
        self.writes = []

    def write(self, data):
        """Count a write."""
        self.writes.append(bytes(data))
        self.transport.write(data)

    def writelines(self, parts):
        """Count writes that are sent together as one."""
        self.write(b"".join(parts))

    def __getattr__(self, name):
        return getattr(self.transport, name)


class Counting(DeadlineProtocol):
    """The protocol with counted writes."""

    counted: ClassVar[list[Counted]] = []  # of all connections

    def connection_made(self, transport):
        """Count what is written to this transport."""
        self.counted.append(Counted(transport))
        super().connection_made(self.counted[-1])  # type: ignore[arg-type]  # it has all that is called


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("connection", ["keep-alive", "close"])
def test_head_and_body_are_one_write(method, connection):
    """A response is written at once, also one without a body or before the connection closes."""
    with serving(Counting) as port, httpx.Client() as client:
        for _ in range(2):
            answer = client.request(
                method, f"http://127.0.0.1:{port}/", headers={"connection": connection}
            )
            assert answer.text == ("0" if method == "GET" else "")
    first, *_ = transports = Counting.counted
    assert len(first.writes) == (2 if connection == "keep-alive" else 1)
    assert sum(len(transport.writes) for transport in transports) == 2
    transports.clear()


def test_head_of_stream_does_not_wait_for_body(port):
    """The head of a response is sent although its body comes later."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as client:
        client.sendall(HEAD.replace(b"/ ", b"/stream ") + b"Content-Length: 2\r\n\r\n")
        assert client.recv(1000).endswith(b"\r\n\r\n")
        client.sendall(b"ok")
        assert client.recv(1000) == b"2"


def test_early_head_is_sent_before_end_of_stream(port):
    """A head without a body is sent before the sending end closes, as it does after an early response."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as client:
        client.sendall(b"HEAD /early HTTP/1.1\r\nHost: klein\r\nContent-Length: 1000000\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 401 ")
