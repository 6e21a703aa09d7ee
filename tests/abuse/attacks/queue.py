"""Attacks on the queue and on the places for waiters: long polls and event streams."""

import selectors
import socket
import time
from contextlib import ExitStack

from tests.abuse.attacks.attack import Attack, Target
from tests.support.api_client import order

STREAMS = 100  # of each thread
STREAMED_S = 2.0


def _fill(target: Target) -> None:
    """Create as many predictions as possible."""
    with target.client() as client:
        for _ in range(20):
            client.post("/v1/prediction", json=order(prompt="slow"))


def _wait(target: Target) -> None:
    """Wait for a prediction that does not end soon."""
    with target.client() as client:
        created = client.post("/v1/prediction", json=order(prompt="slow")).json()
        client.get(f"/v1/prediction/{created.get('id')}", params={"wait": 5})


def _follow(target: Target) -> None:
    """Hold event streams of one prediction open, read them, and end the prediction."""
    with target.client() as client, ExitStack() as stack:
        created = client.post("/v1/prediction", json=order(prompt="slow")).json()
        path = f"/v1/prediction/{created.get('id')}"
        request = f"GET {path}/events HTTP/1.1\r\nHost: klein\r\nX-API-Key: {target.key}\r\n\r\n"
        selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(STREAMS):
            stream = stack.enter_context(socket.create_connection(target.address, timeout=30))
            stream.sendall(request.encode())
            selector.register(stream, selectors.EVENT_READ)
        ends = time.monotonic() + STREAMED_S
        while time.monotonic() < ends and not target.stopping.is_set() and selector.get_map():
            for key, _ in selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                if not key.fileobj.recv(65536):
                    selector.unregister(key.fileobj)
        client.post(f"{path}/cancel")


ATTACKS = (
    Attack(kind="full queue", run=_fill, threads=2),
    Attack(kind="long polls", run=_wait, threads=20),
    Attack(kind="event streams", run=_follow, threads=2),
)
