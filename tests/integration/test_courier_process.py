"""The courier as a process of its own, with settings of the environment."""

import os
import sys

import pytest

from tests.support import processes
from tests.support.courier import Post
from tests.support.fakes import eventually
from tests.support.webhook_receiver import running_receiver


@pytest.mark.timeout(240)
def test_key_starts_as_many_webhooks_as_the_setting_says(redis_server, connection, tmp_path):
    """With one attempt a minute a key's second webhook waits, while webhooks of other keys are sent."""
    post = Post(connection)
    settings = {
        "REDIS_URL": redis_server.url,
        "KLEIN_DATA": str(tmp_path),
        "KLEIN_ALLOW_HOSTS": "127.0.0.1",
        "KLEIN_KEY_WEBHOOKS_PER_MINUTE": "1",
    }
    command = [sys.executable, "-m", "worker.courier"]
    with running_receiver() as receiver, processes.started(command, env=os.environ | settings):

        def owe(name: str, key_id: str) -> None:
            post.owe(f"{receiver.url}?{name}", name, key_id)

        def received() -> list[str]:
            return [call.path.partition("?")[2] for call in receiver.calls]

        def until_received(name: str) -> None:
            eventually(lambda: name in received(), 120)

        owe("first", "key")
        until_received("first")
        owe("second", "key")
        for other in ("other", "another"):
            owe(other, other)
            until_received(other)

        assert received() == ["first", "other", "another"]
