"""Attacks on the storage: uploads that are opened and not sent, and files that arrive slowly."""

import threading
from collections.abc import Iterator

from tests.abuse.attacks.attack import Attack, Target
from tests.support.api_client import image_file

FILE = image_file() + bytes(500_000)
SLOW_PARTS = 100


def _trickle(target: Target) -> Iterator[bytes]:
    yield FILE[:1000]
    for _ in range(SLOW_PARTS):
        if target.stopping.is_set():
            return
        threading.Event().wait(0.05)
        yield bytes(2000)


def _open(target: Target) -> str:
    with target.client() as client:
        answer = client.post("/v1/upload/presign", json={"content_type": "image/png"})
        return str(answer.json().get("presigned_url", target.url))


def _send(target: Target) -> None:
    """Open three uploads and send one file at once."""
    url, *_unsent = [_open(target) for _ in range(3)]
    with target.client() as client:
        client.put(url, content=FILE)


def _send_slowly(target: Target) -> None:
    """Send a file that takes seconds to arrive."""
    url = _open(target)
    with target.client() as client:
        client.put(url, content=_trickle(target))


ATTACKS = (
    Attack(kind="uploads", run=_send),
    Attack(kind="slow uploads", run=_send_slowly, threads=8),
)
