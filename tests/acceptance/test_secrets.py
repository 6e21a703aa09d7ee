"""Canaries through the whole system: marked secrets and prompts appear nowhere that others can read."""

import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]  # its stubs are a separate package
import pytest
import redis

from tests.support.api_client import get, order, run, until
from tests.support.klein_server import Klein, running_klein
from tests.support.webhook_receiver import running_receiver, status

PROMPT = "a canary-prompt on a wire"
SECRET = "whsec_Y2FuYXJ5LXNlY3JldA=="
KEY = "canary-key-of-more-than-thirty-two-characters"
URL_SECRET = "canary-secret-of-urls"


@pytest.fixture(scope="module")
def watched(tiny_weights: Path) -> Iterator[Klein]:
    """A system whose secrets are all marked."""
    with running_klein(
        tiny_weights,
        KLEIN_API_KEYS=KEY,
        KLEIN_URL_SECRET=URL_SECRET,
        KLEIN_ALLOW_HOSTS="127.0.0.1",
    ) as running:
        yield running


def used(klein: Klein) -> list[str]:
    """Use every kind of secret, correctly and incorrectly. Return the texts that must not appear."""
    bodies = []
    with klein.client(KEY) as client, running_receiver(status(200)) as receiver:
        hook = {"webhook_url": receiver.url, "webhook_secret": SECRET}
        ended = run(client, prompt=PROMPT)
        signature = httpx.URL(ended["output"]).params["signature"]
        created = client.post("/v1/prediction", json=order(prompt=PROMPT) | hook).json()["id"]
        get(client, created, wait=30)
        until(lambda: receiver.calls)
        bodies.append(client.get(f"/v1/webhooks/{created}").text)
        wrong = order(prompt=PROMPT, num_images=9) | hook
        bodies.append(client.post("/v1/prediction", json=wrong).text)
        bodies.append(client.post("/v1/prediction", content=SECRET.encode()).text)
        bodies.append(client.get(ended["output"].replace(signature, "0" * len(signature))).text)
    with klein.client(KEY + "-wrong") as other_client:
        bodies.append(other_client.post("/v1/prediction", json=order(prompt=PROMPT)).text)
        bodies.append(other_client.get(f"/v1/executions?key={KEY}").text)
    secrets = [KEY, SECRET, URL_SECRET, signature]
    for body in bodies:
        for secret in secrets:
            assert secret not in body
    return [*secrets, "canary-prompt"]


def test_secrets_are_not_in_logs_or_queues(watched: Klein) -> None:
    """No key, webhook secret, signature or prompt is in a log, a queue's job, a command line or an error."""
    secrets = used(watched)
    tokens = b""
    with redis.Redis.from_url(f"unix://{watched.folder}/redis/redis.sock") as connection:
        for name in connection.keys("rq:*"):
            if connection.type(name) == b"hash":
                for value in connection.hgetall(name).values():
                    tokens += value
                    with suppress(zlib.error):
                        tokens += zlib.decompress(value)
        stored_keys = connection.dump("klein:keys") or b""
    commands = ""
    for process in watched.parts():
        with suppress(psutil.NoSuchProcess):
            commands += " ".join(process.cmdline())
    log = "\n".join(watched.log)

    assert "prediction_finished" in log
    for secret in secrets:
        assert secret not in log
        assert secret not in commands
        assert secret.encode() not in tokens + stored_keys


def test_engine_process_has_no_secrets(watched: Klein) -> None:
    """The engine process has no key, no secret and no Redis address in its environment."""
    engine = watched.part("engine")
    assert engine is not None
    environ = " ".join(f"{k}={v}" for k, v in engine.environ().items())

    assert KEY not in environ
    assert URL_SECRET not in environ
    assert "redis.sock" not in environ
