"""DNS rebinding attacks in fresh network namespaces: a name server with changing answers, a public host, and canaries.

`unshare --user --map-root-user --net --mount python -m tests.support.dns_rebinding` prints the result of each attempt to make
`SafeHttp` connect to an internal address, as JSON: its answers, which hosts were connected to, and how often the name was resolved.
"""

import asyncio
import ipaddress
import json
import socket
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

import httpx
from dnslib import AAAA, CNAME, QTYPE, RR, A
from dnslib.server import DNSServer

from app.safe_http import SafeHttp, Unreachable
from tests.support import processes

PUBLIC = "93.184.215.14"
PRIVATE = ("127.0.0.1", "10.0.0.1", "169.254.169.254", "100.100.100.200")
INSIDE = (*PRIVATE, "::1", "64:ff9b::7f00:1")
TRIES = 8
# by name: the addresses, or the other name, that successive queries return, starting over after the last
ZONE: dict[str, list[list[str]]] = {
    "moving": [[PUBLIC], ["127.0.0.1"], ["10.0.0.1"]],
    "metadata": [[PUBLIC], ["169.254.169.254"]],
    "inside": [[address] for address in PRIVATE],
    "mixed": [[PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC]],
    "six": [["::1"], ["64:ff9b::7f00:1"], ["::ffff:7f00:1"]],
    "both": [[PUBLIC, "::1"]],
    "alias": [["inside"], ["moving"]],
    "again": [[PUBLIC], ["127.0.0.1"]],
    "naive": [[PUBLIC], ["127.0.0.1"]],
}


class Zone:
    """The attacker's name server. Its answers have no lifetime, and each query gets the next answer."""

    def __init__(self) -> None:
        self.queries: Counter[tuple[str, str]] = Counter()

    def resolve(self, request, handler):
        reply, kind = request.reply(), QTYPE[request.q.qtype]
        name = str(request.q.qname).split(".")[0]
        answers = ZONE[name]
        answer = answers[self.queries[name, kind] % len(answers)]
        self.queries[name, kind] += 1
        if answer[0] in ZONE:
            reply.add_answer(RR(f"{name}.test", QTYPE.CNAME, rdata=CNAME(f"{answer[0]}.test")))
            name, answer = answer[0], ZONE[answer[0]][0]
        for address in answer:
            if kind == ("AAAA" if ":" in address else "A"):
                record = AAAA(address) if ":" in address else A(address)
                reply.add_answer(RR(f"{name}.test", request.q.qtype, rdata=record))
        return reply


class Host:
    """An HTTP server at one address. It counts connections and redirects requests if the path says so."""

    def __init__(self, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 80), family=family)
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            self.connections += 1
            with client:
                request = client.recv(4096)
                moved = b"Location: http://again.test/\r\n" if b" /moved " in request else b""
                line = b"302 Found" if moved else b"200 OK"
                client.sendall(
                    b"HTTP/1.1 " + line + b"\r\nContent-Length: 2\r\n" + moved + b"\r\nok"
                )


def ask(http: SafeHttp, url: str) -> str:
    """Fetch a URL as the api does."""
    try:
        reply = asyncio.run(
            http.send("GET", url, headers={}, max_bytes=99, within_s=10, redirects=3)
        )
    except Unreachable:
        return "unreachable"
    return str(reply.status)


def ask_naively(host: str) -> str:
    """Check the address, then let the client resolve the name again. `SafeHttp` must not do this."""
    address = socket.getaddrinfo(host, 80, socket.AF_INET)[0][4][0]
    assert ipaddress.ip_address(address).is_global
    return str(httpx.get(f"http://{host}/", trust_env=False).status_code)


def main() -> None:
    """Set up the namespaces and run all attempts."""
    processes.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (PUBLIC, *INSIDE):
        if address not in {"127.0.0.1", "::1"}:
            length, late = ("128", ["nodad"]) if ":" in address else ("32", [])
            command = ["ip", "address", "add", f"{address}/{length}", "dev", "lo", *late]
            processes.run(command, check=True)
    with tempfile.NamedTemporaryFile("w") as resolv:
        resolv.write("nameserver 127.0.0.1\noptions timeout:5 attempts:1\n")
        resolv.flush()
        place = str(Path("/etc/resolv.conf").resolve())
        processes.run(["mount", "--bind", resolv.name, place], check=True)
        zone, hosts = Zone(), {address: Host(address) for address in (PUBLIC, *INSIDE)}
        DNSServer(zone, address="127.0.0.1", port=53, logger=NoLogger()).start_thread()
        sys.stdout.write(json.dumps(play(zone, hosts)))


class NoLogger:
    """Discard all log events. dnslib calls one method for each event."""

    def __getattr__(self, name: str):
        return lambda *_: None


def play(zone: Zone, hosts: dict[str, Host]) -> dict[str, object]:
    """Run each attempt with `SafeHttp`, then one with a naive client."""
    results: dict[str, object] = {}
    http = SafeHttp(())
    for name in ZONE:
        before = {address: host.connections for address, host in hosts.items()}
        match name:
            case "naive":
                answers = [ask_naively("naive.test")]
            case "again":
                answers = [ask(http, f"http://{PUBLIC}/moved") for _ in range(TRIES)]
            case _:
                answers = [ask(http, f"http://{name}.test/") for _ in range(TRIES)]
        reached = [address for address, host in hosts.items() if host.connections > before[address]]
        results[name] = {"answers": answers, "seen": reached, "asked": zone.queries[name, "A"]}
    return results


if __name__ == "__main__":
    main()
