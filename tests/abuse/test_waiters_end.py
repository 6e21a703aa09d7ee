"""Long polls of one key that all end at once, and how many of them are answered before a request of a victim is."""

import selectors
import socket
import statistics
import threading
from http import HTTPStatus

from tests.abuse.parts import ATTACKER, VICTIM
from tests.support.api_client import create, until

WAITERS = 1000
HANGS = {"prompt": "hang"}


class Waiters:
    """Connections that wait for one prediction. They read in a thread, and count the answers."""

    def __init__(self, address, path):
        request = f"GET {path} HTTP/1.1\r\nHost: klein\r\nX-API-Key: {ATTACKER}\r\n\r\n".encode()
        self.answers = 0
        self._selector = selectors.DefaultSelector()
        for _ in range(WAITERS):
            connection = socket.create_connection(address, timeout=30)
            connection.sendall(request)
            self._selector.register(connection, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self):
        while self._selector.get_map():
            for key, _ in self._selector.select(1):
                assert isinstance(key.fileobj, socket.socket)
                self.answers += key.fileobj.recv(65536).startswith(b"HTTP/1.1 200")
                self._selector.unregister(key.fileobj)
                key.fileobj.close()

    def join(self):
        self._thread.join()
        self._selector.close()


def test_waiters_that_end_at_once_go_before_no_request(parts):
    """While 1,000 long polls of a key are answered at once, a victim's request waits for a few of them."""
    with parts.client(ATTACKER) as attacker, parts.client(VICTIM) as victim:
        mine, other = create(attacker, **HANGS), create(victim, **HANGS)
        host, port = parts.url.removeprefix("http://").split(":")
        waiters = Waiters((host, int(port)), f"/v1/prediction/{mine}?wait=60")
        until(lambda: f"klein_waiters {WAITERS}.0" in victim.get("/metrics").text, 60)
        attacker.post(f"/v1/prediction/{mine}/cancel").raise_for_status()
        before = []
        while waiters.answers < WAITERS:
            already = waiters.answers
            answer = victim.get(f"/v1/prediction/{other}")
            before.append(waiters.answers - already)
            assert answer.status_code == HTTPStatus.OK
        waiters.join()
        victim.post(f"/v1/prediction/{other}/cancel").raise_for_status()

    assert statistics.median(before) < WAITERS / 20
