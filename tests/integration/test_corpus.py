"""The corpus of bad inputs against the api as shipped: each is refused with an error that names the problem, and changes nothing."""

import os
import re
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from pydantic import TypeAdapter

from app.uploads import Upload
from tests.corpus import CASES
from tests.corpus.answers import parse_error
from tests.corpus.case import KEY, Case
from tests.corpus.create import TEXT
from tests.corpus.requests import REQUESTS
from tests.corpus.uploads import SECRET, UPLOAD
from tests.support import processes
from tests.support.api_client import until

LONGEST = 2000  # bytes of an answer, so that it does not echo the input


class Api(NamedTuple):
    """A running api, and the state that it may have changed."""

    client: httpx.Client
    redis: Any
    folder: Path
    log: Path

    def everything(self) -> tuple[dict[bytes, Any], set[str]]:
        """Return everything that Redis and the storage hold."""
        values = {key: self.redis.dump(key) for key in self.redis.scan_iter()}
        return values, {str(path) for path in self.folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def api(redis_server) -> Iterator[Api]:
    """`klein api` in a process of its own, with an upload that waits for its file."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as root, redis_server.connect() as redis:
        folder, log = Path(root, "data"), Path(root, "log")
        settings = {
            "REDIS_URL": redis_server.url,
            "KLEIN_PORT": str(port),
            "KLEIN_DATA": str(folder),
            "KLEIN_API_KEYS": KEY,
            "KLEIN_URL_SECRET": SECRET,
        }
        redis.flushall()
        redis.set(f"klein:upload:{UPLOAD.id}", TypeAdapter(Upload).dump_json(UPLOAD))
        with log.open("w") as written, httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:  # fmt: skip
            command = [sys.executable, "-m", "app.cli", "api"]
            with processes.started(
                command, env=os.environ | settings, stdout=written, stderr=written
            ) as process:
                until(lambda: lives(client))
                yield Api(client, redis, folder, log)
                process.send_signal(signal.SIGTERM)
                process.wait(20)


def lives(client: httpx.Client) -> bool:
    try:
        return client.get("/livez").status_code == 200
    except httpx.TransportError:
        return False


def ask(client: httpx.Client, case: Case) -> httpx.Response:
    headers: dict[Any, Any] = {k.encode(): v for k, v in case.headers.items()}
    if case.key is not None:
        headers[b"X-API-Key"] = case.key
    return client.request(case.method, case.path, content=case.body, headers=headers)


def wrong_with(case: Case, answer: httpx.Response) -> str:
    """Return what is wrong with an answer, or an empty string."""
    if answer.status_code != case.status:
        return f"{answer.status_code}, not {case.status}: {answer.text}"
    try:
        status, fields, text = parse_error(case.dialect, answer.json())
    except (ValueError, KeyError, TypeError) as exc:
        return f"another form, {exc!r}: {answer.text}"
    is_named = fields == [case.names] if fields else case.names in text
    if status not in {case.status, None} or not is_named:
        return f"{case.names} is not named: {answer.text}"
    if not re.search(case.says, text) or len(text) < len("Field required"):
        return f"it does not say what to do: {answer.text}"
    return "" if len(answer.content) < LONGEST else f"too long: {answer.text[:99]}"


@pytest.mark.parametrize("group", CASES)
def test_bad_input_is_refused_by_name(api, group):
    """Each answer has the right status and form, names the problem and says what to do. Nothing is queued or stored."""
    before = api.everything()
    wrong = {}
    for case in CASES[group]:
        fault = wrong_with(case, ask(api.client, case))
        if api.everything() != before:
            before, fault = api.everything(), fault + "; something was kept"
        if fault:
            wrong[str(case)] = fault

    assert wrong == {}


def test_corpus_is_large():
    """The corpus holds more than 700 different requests."""
    assert len({case_key(case) for cases in CASES.values() for case in cases}) > 700


def case_key(case: Case) -> tuple[object, ...]:
    return case.method, case.path, case.body, case.key, *case.headers.items()


@pytest.mark.parametrize("raw", REQUESTS.values(), ids=REQUESTS)
def test_invalid_http_closes_connection(api, raw):
    """Bytes that HTTP does not allow get a 400 and end the connection, whatever follows them."""
    before = api.everything()
    with socket.create_connection((api.client.base_url.host, api.client.base_url.port)) as caller:
        caller.settimeout(10)
        caller.sendall(raw)
        response = b"".join(iter(lambda: caller.recv(4096), b""))

    assert response.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert response.count(b"HTTP/1.1 ") == 1
    assert api.everything() == before


def test_valid_input_is_accepted(api):
    """A valid create is accepted and changes what Redis holds, so the test above can fail."""
    before = api.everything()
    answer = api.client.post("/v1/prediction", json={"model": TEXT, "input": {"prompt": "x"}}, headers={"X-API-Key": KEY})  # fmt: skip

    assert answer.status_code == 200
    assert api.everything() != before


def test_api_logged_no_error(api):
    """After all of them the api is running, and has logged no traceback and no warning."""
    logged = api.log.read_text()

    assert lives(api.client)
    assert "Traceback" not in logged
    assert '"level":"error"' not in logged.replace(" ", "")
