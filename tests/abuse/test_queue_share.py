"""One key that fills the queue, and what revoking it frees."""

import sys
import threading
from http import HTTPStatus

import pytest

from app.keys import hash_key
from tests.abuse.parts import ATTACKER, VICTIM, running_parts
from tests.support import processes
from tests.support.api_client import order, until

LIMIT = 40
ENDS_S = 15.0
HANGS = {"prompt": "hang"}  # the engine is replaced after 20 s, and nothing ends before


def fill(client):
    """Create predictions until one is refused. Return the ids and the refusal."""
    ids: list[str] = []
    while len(ids) <= LIMIT:
        answer = client.post("/v1/prediction", json=order(**HANGS))
        if answer.status_code != HTTPStatus.OK:
            return ids, answer
        ids.append(answer.json()["predictionID"])
    return ids, None


@pytest.fixture(scope="module")
def small():
    """A system whose queue takes 40 predictions."""
    with running_parts(KLEIN_QUEUE_LIMIT=str(LIMIT)) as running:
        yield running


def revoke(parts, key):
    """Revoke a key by the command, and return what it prints."""
    command = [sys.executable, "-m", "app.cli", "keys", "revoke", hash_key(key)[:16]]
    return processes.run(command, env=parts.system.environ, check=True).stdout


def trickle(released):
    """Yield a file that does not end before the test does, some bytes at a time."""
    yield b"\x89PNG\r\n\x1a\n"
    while not released.wait(0.05):
        yield bytes(8192)


def test_key_leaves_half_of_queue_and_revoking_frees_it(small):
    """A key gets half of the queue, the next one half of the rest. Revoking the first cancels its predictions, which ends
    its event streams and long polls, and ends its uploads.
    """
    codes, released = {}, threading.Event()

    def ask(name, client, *arguments, **options):
        codes[name] = client.request(*arguments, **options).status_code

    with small.client(ATTACKER) as attacker, small.client(VICTIM) as victim:
        ids, refused = fill(attacker)
        assert len(ids) == LIMIT // 2
        assert refused.status_code == HTTPStatus.TOO_MANY_REQUESTS
        assert "half of what other keys leave" in refused.text
        assert len(fill(victim)[0]) == LIMIT // 4

        put = attacker.post("/v1/upload/presign", json={"content_type": "image/png"}).json()
        path = f"/v1/prediction/{ids[-1]}"
        requests = {
            "poll": ((attacker, "GET", path), {"params": {"wait": 60}}),
            "events": ((attacker, "GET", f"{path}/events"), {}),
            "upload": (
                (small.client(None), "PUT", put["presigned_url"]),
                {"content": trickle(released)},
            ),
        }
        threads = [
            threading.Thread(target=ask, args=(name, *arguments), kwargs=options, daemon=True)
            for name, (arguments, options) in requests.items()
        ]
        for thread in threads:
            thread.start()
        until(lambda: "klein_waiters 2.0" in victim.get("/metrics").text)
        assert "20 unfinished predictions are cancelled" in revoke(small, ATTACKER)
        for thread in threads:
            thread.join(ENDS_S)
        released.set()

        assert codes == {"poll": 200, "events": 200, "upload": 401}
        with small.system.connect() as connection:
            assert connection.zcard("klein:open") == LIMIT // 4
        assert len(fill(victim)[0]) == LIMIT // 2 - LIMIT // 4
        assert attacker.get(path).status_code == HTTPStatus.UNAUTHORIZED
