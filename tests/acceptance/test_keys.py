"""API keys on the shipped system: created, limited and revoked by `klein keys` while it runs."""

import re
import sys
import time
from collections.abc import Iterator

import httpx
import pytest
import redis

from tests.support import processes
from tests.support.api_client import create, order, run
from tests.support.klein_server import Klein


def keys(klein: Klein, *arguments: str) -> str:
    """Run `klein keys` beside the running system, and return its output."""
    command = [sys.executable, "-m", "app.cli", "keys", *arguments]
    completed = processes.run(command, env=klein.environ)
    return completed.stdout + completed.stderr


def create_key(klein: Klein, *arguments: str) -> tuple[str, str]:
    """Create a key. Return its id and the key."""
    output = keys(klein, "create", *arguments)
    match = re.search(r"id +([0-9a-f]{16})\nkey +(klein_\1_[0-9A-Za-z]{43}) ", output)
    assert match, output
    return match[1], match[2]


@pytest.fixture
def limited(klein: Klein) -> Iterator[httpx.Client]:
    """A client whose key may have one open prediction and two creates a minute."""
    _, key = create_key(klein, "limited", "--in-flight", "1", "--per-minute", "2")
    with klein.client(key) as client:
        yield client


def test_created_key_works_until_revoked(klein: Klein) -> None:
    """A key works from its creation until at most five seconds after its revocation, which may delete what it made."""
    key_id, key = create_key(klein, "for a while")
    with klein.client(key) as client:
        image = run(client)["output"]
        said = keys(klein, "revoke", key_id, "--delete")
        revoked_at = time.monotonic()
        sent_at = revoked_at
        while client.get("/v1/executions").status_code != 401:
            assert sent_at - revoked_at < 5
            sent_at = time.monotonic()

    assert f"revoked {key_id}" in said
    assert "deleted 1 prediction" in said
    assert httpx.get(image, trust_env=False).status_code == 404
    assert re.search(rf"{key_id} +revoked .* for a while", keys(klein, "list"))


def test_keys_of_owner_share_history_and_limits(klein: Klein) -> None:
    """Two keys of one owner see each other's predictions and have one rate. Revoking the owner ends both."""
    first_id, first = create_key(klein, "one", "--owner", "acme", "--per-minute", "2")
    _, second = create_key(klein, "two", "--owner", "acme")
    with klein.client(first) as client, klein.client(second) as other:
        run(client)
        run(other)
        histories = [c.get("/v1/executions").json() for c in (client, other)]
        assert [history["total_count"] for history in histories] == [2, 2]
        assert histories[0]["executions"] == histories[1]["executions"]
        assert other.post("/v1/prediction", json=order()).status_code == 429
        assert "belong to @acme and stay" in keys(klein, "revoke", first_id, "--delete")
        assert other.get("/v1/executions").json()["total_count"] == 2
        listed = keys(klein, "list")
        assert "deleted 2 predictions" in keys(klein, "revoke", "@acme", "--delete")
        assert other.get("/v1/executions").status_code == 401

    assert re.search(r"@acme +valid +0 +\$0\.000008 +0, 0\.0 MB +2 a minute", listed)
    assert "the owner acme is revoked" in keys(klein, "create", "three", "--owner", "acme")
    assert "letters, digits" in keys(klein, "create", "three", "--owner", "a:b")


def test_key_is_stored_as_hash(klein: Klein) -> None:
    """Neither Redis nor the list contains the key."""
    _, key = create_key(klein, "secret")
    with redis.Redis.from_url(f"unix://{klein.folder}/redis/redis.sock") as connection:
        stored = connection.hgetall("klein:keys")

    assert b"secret" in b"".join(stored.values())
    assert key.rpartition("_")[2].encode() not in b"".join(stored.values())
    assert key not in keys(klein, "list")


def test_list_shows_expired_key(klein: Klein) -> None:
    """The list shows the expiry date, the limits, the open predictions and the spending."""
    key_id, key = create_key(
        klein, "short", "--days", "1", "--dollars", "2.5", "--per-minute", "60"
    )
    with klein.client(key) as client:
        run(client)
    line = next(line for line in keys(klein, "list").splitlines() if line.startswith(key_id))

    assert re.search(
        r"until \d{4}-\d\d-\d\d +0 +\$0\.000004 +0, 0\.0 MB +60 a minute, \$2\.5 a month +short",
        line,
    )


def test_limit_of_open_predictions_is_429(limited: httpx.Client, busy: str) -> None:
    """A second open prediction is a 429 in the contract's form, with Retry-After."""
    create(limited)
    answer = limited.post("/v1/prediction", json=order())

    assert answer.status_code == 429
    assert answer.json() == {
        "status": 429,
        "error": "too many requests",
        "message": "too many requests",
        "details": "the key has reached its limit of 1 unfinished predictions; send it again later",
    }
    assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_rate_limit_is_429(limited: httpx.Client) -> None:
    """The third create within a minute is a 429, by run too. Reading predictions is not limited."""
    for _ in range(2):
        run(limited)
    answers = [limited.post(f"/v1/prediction{way}", json=order()) for way in ("", "/run")]

    assert [answer.status_code for answer in answers] == [429, 429]
    assert 1 <= int(answers[0].headers["Retry-After"]) <= 60
    assert limited.get("/v1/executions").json()["total_count"] == 2


def test_spent_budget_is_402(klein: Klein) -> None:
    """A key whose budget covers one small image gets a 402 for the second, until the end of the month."""
    _, key = create_key(klein, "poor", "--dollars", "0.000005")
    with klein.client(key) as client:
        run(client)
        answer = client.post("/v1/prediction", json=order())

    assert answer.status_code == 402
    assert answer.json()["error"] == answer.json()["message"] == "payment required"
    assert 0 < int(answer.headers["Retry-After"]) <= 31 * 86400


def test_command_reports_errors(klein: Klein) -> None:
    """An unknown id and a Redis outage each give a sentence, and no traceback."""
    away = {**klein.environ, "REDIS_URL": "redis://:hidden@127.0.0.1:1"}
    completed = processes.run([sys.executable, "-m", "app.cli", "keys", "list"], env=away)

    assert "there is no key nobody" in keys(klein, "revoke", "nobody")
    assert completed.returncode == 4  # as docs/cli.md says
    assert "Redis does not answer at redis://127.0.0.1:1" in completed.stderr
    assert "hidden" not in completed.stderr
