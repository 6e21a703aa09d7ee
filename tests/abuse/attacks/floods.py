"""Floods: as many cheap requests as the server answers, over many connections at once."""

import re
import selectors
import socket
import time
from collections.abc import Callable, Sequence

from tests.abuse.attacks.attack import Attack, Target

CONNECTIONS = 60
FLOOD_S = 2.0
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
OF_KEY = ("GET /v1/prediction/{}".format("0" * 36), "GET /v1/upload/presign", "POST /v1/prediction")
OF_STRANGER = ("GET /livez", "GET /nothing", "OPTIONS /v1/prediction", "POST /v1/prediction")


def flood(
    target: Target,
    lines: Sequence[str],
    seconds: float = FLOOD_S,
    on_answer: Callable[[], None] = lambda: None,
) -> None:
    """Send one request after the other over each connection, for so long. Those that the server closes are opened again."""
    key = f"X-API-Key: {target.key}\r\n" if target.key else ""
    requests = [
        f"{line} HTTP/1.1\r\nHost: klein\r\n{key}Content-Length: 0\r\n\r\n".encode()
        for line in lines
    ]
    ends = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:

        def open_one(request: bytes) -> None:
            connection = socket.create_connection(target.address, timeout=30)
            selector.register(connection, selectors.EVENT_READ, (bytearray(), request))
            connection.sendall(request)

        for number in range(CONNECTIONS):
            open_one(requests[number % len(requests)])
        while time.monotonic() < ends and not target.stopping.is_set():
            for key_of, _ in selector.select(0.1):
                connection = key_of.fileobj
                assert isinstance(connection, socket.socket)
                received, request = key_of.data
                try:
                    piece = connection.recv(65536)
                    received += piece
                    if not piece:
                        raise ConnectionError
                    if _take_answer(received):
                        on_answer()
                        connection.sendall(request)
                except OSError:
                    selector.unregister(connection)
                    connection.close()
                    open_one(request)
        for each in list(selector.get_map().values()):
            assert isinstance(each.fileobj, socket.socket)
            each.fileobj.close()


def _take_answer(received: bytearray) -> bool:
    """Remove a whole answer from what was received; False where it is not there yet."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return False
    length = _LENGTH.search(received, 0, end + 2)
    end += 4 + (int(length[1]) if length else 0)
    if len(received) < end:
        return False
    del received[:end]
    return True


ATTACKS = (
    Attack(kind="requests of a key", run=lambda target: flood(target, OF_KEY), threads=1),
    Attack(
        kind="requests of a stranger",
        run=lambda target: flood(target, OF_STRANGER),
        is_of_stranger=True,
        threads=1,
    ),
)
