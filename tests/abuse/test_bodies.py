"""Bodies that cost more than their size: many values, much text, and bytes beside the body."""

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import psutil  # type: ignore[import-untyped]  # its stubs are a separate package
import pytest

from app.api.body_memory import MAX_BYTES_OF_KEY
from app.api.json_body import TEXT_MAX_BYTES, VALUES_MAX
from tests.abuse.parts import ATTACKER, VICTIM
from tests.support.api_client import EDIT, create, order, until

MB = 1024 * 1024
GROWTH_MAX_BYTES = 64 * MB
REPLICATE = "/v1/models/black-forest-labs/flux-2-klein-4b/predictions"
CREATES = ["/v1/prediction", REPLICATE, "/bfl/v1/flux-2-klein-4b"]
JSON_ROUTES = [*CREATES, "/v1/images/generations", "/v1/upload/presign"]
VALUES = b"[" + b"{}," * (10 * MB) + b"{}]"
HEAD = b"POST /v1/prediction HTTP/1.1\r\nHost: klein\r\nTransfer-Encoding: chunked\r\n"
WITH_KEY = HEAD + b"X-API-Key: " + ATTACKER.encode() + b"\r\n"
POURED_BYTES = 32 * MB
STALLED = 100


class Growth:
    """The most resident memory of a process, above that at the start, while the body runs."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._start = process.memory_info().rss
        self._stopping = threading.Event()
        self.bytes = 0

    def __enter__(self):
        self._thread = threading.Thread(target=self._measure)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _measure(self) -> None:
        while True:
            self.bytes = max(self.bytes, self._process.memory_info().rss - self._start)
            if self._stopping.wait(0.02):
                return


def pour(parts, start, piece):
    """Send a start, and a piece again and again. Return how much was sent, and what came back."""
    sent_bytes, received = 0, b""
    host, port = parts.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        with suppress(OSError):
            connection.sendall(start)
            while sent_bytes < POURED_BYTES:
                sent_bytes += connection.send(piece)
        with suppress(OSError):
            received = connection.recv(4096)
    return sent_bytes, received


def post_at_once(client, path, body):
    """Send eight equal requests at once, and return their statuses."""
    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(client.post, path, content=body) for _ in range(8)]
    return [answer.result().status_code for answer in answers]


@pytest.mark.parametrize("path", JSON_ROUTES)
def test_many_values_are_refused_early(parts, path):
    """30 MB of small values are a 413 before they are read. Memory does not grow with the body."""
    with parts.client(ATTACKER) as attacker, Growth(parts.api) as growth:
        answers = post_at_once(attacker, path, VALUES)
        message = attacker.post(path, content=VALUES[: TEXT_MAX_BYTES // 2]).text

    assert f"{VALUES_MAX} values" in message
    assert answers == [413] * 8
    assert growth.bytes < GROWTH_MAX_BYTES


@pytest.mark.parametrize("path", JSON_ROUTES)
def test_text_is_limited(parts, path):
    """A body with more than 1 MB beside its images is a 413 that says so."""
    with parts.client(ATTACKER) as attacker:
        refused = attacker.post(path, json={"junk": "x" * TEXT_MAX_BYTES})

    assert refused.status_code == 413
    assert "1 MB" in refused.text or "limit" in refused.text


def test_structure_within_limit_is_accepted(parts):
    """A body with some thousand values is accepted."""
    with parts.client(VICTIM) as victim:
        answer = victim.post("/v1/prediction", json=order(junk=[0] * (VALUES_MAX - 100)))

    assert answer.status_code == 200


def test_images_in_body_take_no_memory(parts):
    """Eight bodies of 30 MB at once are refused for their images. They are on disk meanwhile, and their files are deleted."""
    uri = "data:image/png;base64," + "A" * (30 * MB)
    body = json.dumps(order(EDIT, image_urls=[uri])).encode()
    with parts.client(ATTACKER) as attacker, Growth(parts.api) as growth:
        answers = post_at_once(attacker, "/v1/prediction", body)

    assert set(answers) <= {400, 429}
    assert 400 in answers
    assert growth.bytes < GROWTH_MAX_BYTES


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (WITH_KEY + b"\r\n0\r\n", b"A: " + b"b" * 8000 + b"\r\n"),
        (WITH_KEY + b"\r\n0\r\nA: ", b"b" * 8000),
        (WITH_KEY + b"\r\n5;", b"b" * 8000),
    ],
    ids=["trailers", "one trailer", "an extension"],
)
def test_bytes_beside_body_take_no_memory(parts, start, piece):
    """Trailers and chunk extensions without end, also with a key, end the connection. Memory does not grow."""
    with Growth(parts.api) as growth:
        sent_bytes, _ = pour(parts, start, piece)

    assert sent_bytes < POURED_BYTES
    assert growth.bytes < GROWTH_MAX_BYTES / 4


def test_body_of_stranger_is_not_read(parts):
    """After the 401 the rest of a body is not read, and the stranger sees the 401."""
    start = HEAD.replace(b"Transfer-Encoding: chunked", b"Content-Length: 60000000") + b"\r\n"
    sent_bytes, received = pour(parts, start, b"x" * 65536)

    assert received.startswith(b"HTTP/1.1 401 ")
    assert sent_bytes < POURED_BYTES


def test_stalled_bodies_are_limited(parts):
    """Of 100 bodies of one key that stop before their end, those above 24 MB are refused. Another key creates meanwhile. When they end,
    the key creates again.
    """
    host, port = parts.url.removeprefix("http://").split(":")
    start = WITH_KEY.replace(b"Transfer-Encoding: chunked", b"Content-Length: 1000001")
    with ExitStack() as stack, parts.client(ATTACKER) as attacker, parts.client(VICTIM) as victim:
        stalled = []
        for _ in range(STALLED):
            connection = stack.enter_context(
                socket.create_connection((host, int(port)), timeout=60)
            )
            connection.sendall(start + b'\r\n{"a":"' + b"x" * 999_994)
            connection.setblocking(False)
            stalled.append(connection)
        held = MAX_BYTES_OF_KEY // 1_000_000
        until(lambda: sum(has_answer(each) for each in stalled) == STALLED - held, 60)
        create(victim)
        refused = attacker.post("/v1/prediction", json=order(junk="x" * (MB // 2))).status_code
        for each in stalled:
            each.close()

        assert refused == 429
        until(lambda: attacker.post("/v1/prediction", json=order()).status_code == 200, 60)


def has_answer(connection):
    """Return whether an answer has come."""
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
