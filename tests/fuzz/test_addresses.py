"""Tests that no URL of a caller leads to a private address or raises an unexpected error."""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.safe_http import URL_MAX, SafeHttp, Unreachable, check_syntax
from app.webhooks.address import find_problem

PRIVATE_NETWORKS = ["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/4", "240.0.0.0/4"]  # fmt: skip
PRIVATE_ADDRESSES = st.sampled_from(PRIVATE_NETWORKS).flatmap(
    lambda network: st.ip_addresses(v=4, network=ipaddress.ip_network(network))
)
WRAPPED = ["::ffff:{}", "::{}", "::ffff:0:{}", "64:ff9b::{}", "64:ff9b:1::{}", "2002:{}::", "2001:0:{}::", "fe80::{}", "fc00::{}"]  # fmt: skip
# Some blocks of this network are public, which older Python versions do not know.
PROTOCOLS = ipaddress.ip_network("2001::/23")
PUBLIC = SafeHttp(())


def wrapped(form, address):
    """Embed an IPv4 address in an IPv6 address."""
    number = int(address)
    return form.format(f"{number >> 16:x}:{number & 0xFFFF:x}")


@given(address=PRIVATE_ADDRESSES, form=st.sampled_from(WRAPPED))
def test_private_address_stays_private_in_ipv6(address, form):
    """A private address is not permitted, neither by itself nor in any IPv6 form that embeds it."""
    assert not PUBLIC.permits_address(str(address))
    assert not PUBLIC.permits_address(wrapped(form, address))


@given(address=st.ip_addresses())
def test_permitted_addresses_are_global(address):
    """Every permitted address outside 2001::/23 is global and not multicast for the standard library."""
    if PUBLIC.permits_address(str(address)) and address not in PROTOCOLS:
        assert address.is_global
        assert not address.is_multicast


@given(url=st.text(max_size=60) | st.builds("{}://{}".format, st.sampled_from(["http", "HTTPS", "ftp"]), st.text("aé.:/@[]\\%1 \t\n\0-_#?", max_size=30)))  # fmt: skip
@example(url="https://¡/")
@example(url="http://a%00b/")
def test_accepted_webhook_url_has_host(url):
    """A text that is accepted as a webhook URL has a host, no user name, and syntax that delivery accepts."""
    if find_problem(url) is None:
        check_syntax(url)
        assert len(url) <= URL_MAX
        assert urlsplit(url).hostname
        assert httpx.URL(url).userinfo == b""
        assert httpx.URL(url).host


@pytest.fixture(scope="module")
def canary():
    """Listen on all addresses of this machine, and return the port and the list of connections."""
    connections = []
    with socket.create_server(("0.0.0.0", 0)) as listener:

        def listen():
            while True:
                try:
                    client, address = listener.accept()
                except OSError:
                    return
                connections.append(address)
                client.close()

        threading.Thread(target=listen, daemon=True).start()
        yield listener.getsockname()[1], connections
        listener.shutdown(socket.SHUT_RDWR)


def numeric(host, port, *_arguments, **_named):
    """Resolve numeric addresses in any notation, without a name server."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)


SPELLINGS: dict[str, Callable[[ipaddress.IPv4Address], str]] = {
    "as it is": str,
    "one number": lambda address: str(int(address)),
    "hexadecimal": lambda address: hex(int(address)),
    "octal": lambda address: f"0{int(address):o}",
    "octal parts": lambda address: ".".join(f"0{part:o}" for part in address.packed),
    "hexadecimal parts": lambda address: ".".join(hex(part) for part in address.packed),
    "three parts": lambda address: "{}.{}.{}".format(
        *address.packed[:2], int.from_bytes(address.packed[2:])
    ),
    "two parts": lambda address: f"{address.packed[0]}.{int.from_bytes(address.packed[1:])}",
    "wide": lambda address: str(address).translate({48 + k: 0xFF10 + k for k in range(10)}),
    "circled": lambda address: str(address).translate({48 + k: 0x245F + k for k in range(1, 10)}),
    "with another dot": lambda address: str(address).replace(".", "。"),
    "with a dot behind": lambda address: f"{address}.",
    "percent": lambda address: "".join(f"%{ord(c):x}" for c in str(address)),
    "mapped": lambda address: f"[{wrapped('::ffff:{}', address)}]",
    "translated": lambda address: f"[{wrapped('64:ff9b::{}', address)}]",
    "scoped": lambda address: f"[{wrapped('::ffff:{}', address)}%25lo]",
}


URLS = st.builds(
    "{}://{}{}:{{}}{}".format,
    st.sampled_from(["http", "HTTP", "https", "http:", "ws", "ftp", "file", " http"]),
    st.sampled_from(["", "user@", "a:b@", "1.1.1.1@", "1.1.1.1\\@", "1.1.1.1#@", "1.1.1.1?@"]),
    st.builds(
        lambda address, spelling: SPELLINGS[spelling](address),
        st.just(ipaddress.IPv4Address("127.0.0.1")) | PRIVATE_ADDRESSES,
        st.sampled_from(sorted(SPELLINGS)),
    ),
    st.sampled_from(["/", "", "/x", "?x", "#x", "\\x", "/\r\nX: y", "/ x", "@1.1.1.1/", "/../"]),
)


@given(url=URLS)
def test_private_address_is_not_connected_to(canary, url):
    """A private address in any notation, with anything around it, is not connected to."""
    port, connections = canary
    safe_http = SafeHttp((), resolver=numeric, public_ports=frozenset({port}))
    with pytest.raises(Unreachable):
        asyncio.run(safe_http.send("GET", url.format(port), headers={}, max_bytes=9, within_s=30))

    assert connections == []


def test_allowed_address_is_connected_to(canary):
    """An allowed address is connected to, so the test above would notice a connection."""
    port, connections = canary
    with pytest.raises(Unreachable):  # the listener closes the connection without a response
        asyncio.run(SafeHttp(("127.0.0.1",)).send("GET", f"http://127.0.0.1:{port}/", headers={}, max_bytes=9, within_s=30))  # fmt: skip

    assert len(connections) == 1
    connections.clear()
