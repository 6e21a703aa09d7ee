"""The client for outgoing requests, against listeners that must never get a connection."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from app.safe_http import SafeHttp, Unreachable
from tests.support.ports import bind_to_own_port
from tests.support.webhook_receiver import running_receiver, status

LITERALS = [
    "127.0.0.1", "127.1", "0", "0.0.0.0", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1",
    "017700000001", "①②⑦.0.0.1", "127。0。0。1", "127.0.0.1.", "localhost", "LOCALHOST", "localhost.",
    "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "100.100.100.200", "169.254.169.254",
    "168.63.129.16", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "203.0.113.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]",
    "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[2001:db8::1]", "[fc00::1]", "[fd00:ec2::254]",
    "[fe80::1]", "[fe80::1%25lo]", "[::1%25lo]", "[fec0::1]", "[ff02::1]", "[5f00::1]",
]  # fmt: skip


class Canary:
    """A listener on both loopback addresses that counts connections."""

    def __init__(self) -> None:
        self._first = bind_to_own_port(lambda port: socket.create_server(("127.0.0.1", port)))
        self.port = int(self._first.getsockname()[1])
        self._sockets = [self._first, *self._second()]
        self.connections = 0
        for listener in self._sockets:
            threading.Thread(target=self._listen, args=(listener,), daemon=True).start()

    def _second(self) -> Iterator[socket.socket]:
        if socket.has_ipv6:
            try:
                yield socket.create_server(("::1", self.port), family=socket.AF_INET6)
            except OSError:  # a machine without IPv6
                return

    def _listen(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            client.close()

    def close(self) -> None:
        for listener in self._sockets:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


@pytest.fixture
def canary():
    canary = Canary()
    yield canary
    canary.close()


class Names:
    """The attacker's name server: each query gets the next answer."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self.answers = list(answers)
        self.queries = 0

    def __call__(self, host, port, *args, **kwargs):
        answer = self.answers[min(self.queries, len(self.answers) - 1)]
        self.queries += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in answer]


def ask(http, url, redirects=0):
    async def send():
        return await http.send(
            "GET", url, headers={}, max_bytes=100, within_s=30, redirects=redirects
        )

    return asyncio.run(send())


@pytest.mark.parametrize("host", LITERALS)
@pytest.mark.parametrize("is_public_port", [True, False])
def test_private_address_in_any_notation_is_refused(canary, host, is_public_port):
    """No literal address, in any notation, reaches a private, local, shared, reserved or multicast address."""
    ports = frozenset({canary.port if is_public_port else 80})
    http = SafeHttp(("10.255.0.0/16", "friend.test"), public_ports=ports)

    with pytest.raises(Unreachable):
        ask(http, f"http://{host}:{canary.port}/")

    assert canary.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1:{port}/",
        "gopher://127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "http://user@127.0.0.1:{port}/",
        "http://user:word@friend.test:{port}/",
        "http://friend.test:{port}@127.0.0.1:{port}/",
        "http://friend.test\\@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}\r\nHost: x/",
        "http://127.0.0.1:0/",
        "http://[::1/",
        "http:///x",
        "",
        "http://127.0.0.1:{port}/" + "x" * 3000,
    ],
)
def test_invalid_url_is_refused(canary, url):
    """Other schemes, user names, line breaks and invalid URLs are refused before any connection."""
    http = SafeHttp((), public_ports=frozenset({canary.port}))

    with pytest.raises(Unreachable):
        ask(http, url.format(port=canary.port))

    assert canary.connections == 0


def test_allowed_request_arrives(canary):
    """With the address allowed the same request arrives, so the tests above can fail."""
    with pytest.raises(Unreachable):  # it closes without an answer
        ask(SafeHttp(("127.0.0.0/8",)), f"http://127.0.0.1:{canary.port}/")

    assert canary.connections == 1


@pytest.mark.parametrize("entry", ["127.0.0.1", "127.0.0.0/8", "localhost", "LOCALHOST."])
def test_allowed_hosts_are_reached(entry):
    """Allowed addresses, networks and names are reached at any port."""
    with running_receiver() as receiver:
        host = "localhost" if entry.lower().startswith("localhost") else "127.0.0.1"
        url = receiver.url.replace("127.0.0.1", host)

        assert ask(SafeHttp((entry,)), url).status == 200


def test_name_is_resolved_once(canary):
    """The connection goes to the checked address, with the name in Host, whatever the name resolves to later."""
    names = Names(("127.0.0.2",), ("127.0.0.1",))
    with running_receiver(host="127.0.0.2", port=canary.port) as receiver:
        http = SafeHttp(("127.0.0.2",), names)
        reply = ask(http, f"http://moving.test:{canary.port}/")

    assert (reply.status, names.queries, canary.connections) == (200, 1, 0)
    assert receiver.calls[0].headers["Host"] == f"moving.test:{canary.port}"


@pytest.mark.parametrize(
    "answer", [("127.0.0.1",), ("127.0.0.2", "127.0.0.1"), ("127.0.0.1", "127.0.0.2")]
)
def test_name_with_one_private_address_is_refused(canary, answer):
    """A name with any internal address is refused as a whole."""
    http = SafeHttp(("127.0.0.2",), Names(answer))

    with pytest.raises(Unreachable):
        ask(http, f"http://mixed.test:{canary.port}/")

    assert canary.connections == 0


def test_every_redirect_is_checked(canary):
    """A chain that ends at an internal address is refused at its last hop."""
    inside = status(302, Location=f"http://127.0.0.1:{canary.port}/")
    with (
        running_receiver(status(307, Location="/again"), inside, host="127.0.0.2") as receiver,
        pytest.raises(Unreachable),
    ):
        ask(SafeHttp(("127.0.0.2",)), receiver.url, redirects=3)

    assert (len(receiver.calls), canary.connections) == (2, 0)


def test_three_redirects_are_followed():
    """Three redirects are followed, and a fourth is refused."""
    with running_receiver(status(302, Location="/on")) as receiver:
        with pytest.raises(Unreachable):
            ask(SafeHttp(("127.0.0.1",)), receiver.url, redirects=3)
        assert len(receiver.calls) == 4


def test_proxies_are_ignored(canary, monkeypatch):
    """Environment variables that name a proxy have no effect."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    with running_receiver() as receiver:
        assert ask(SafeHttp(("127.0.0.1",)), receiver.url).status == 200
    assert canary.connections == 0


def test_all_failures_have_same_error(canary):
    """Denied, refused, reset and timed-out requests have the same error."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = free.getsockname()[1]
    texts = set()
    for http, port in [
        (SafeHttp(()), canary.port),
        (SafeHttp(("127.0.0.1",)), canary.port),
        (SafeHttp(("127.0.0.1",)), closed),
    ]:
        with pytest.raises(Unreachable) as caught:
            ask(http, f"http://127.0.0.1:{port}/")
        texts.add((str(caught.value), caught.type))

    assert len(texts) == 1
