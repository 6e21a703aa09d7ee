"""Names whose look-up never ends, as webhooks and as images, beside the requests of a victim.

A name server that is silent cannot be had without the rights of root, so `sitecustomize` makes the system's resolver stick.
"""

import re
import textwrap

import pytest

from app.dns import MAX_PENDING_PER_OWNER
from tests.abuse.parts import ATTACKER, VICTIM, running_parts
from tests.support.api_client import EDIT, order, until
from tests.support.webhook_receiver import running_receiver

ATTACKS = 40
STICK = """
    import os, pathlib, socket, sys, threading, uuid

    system = socket.getaddrinfo

    def getaddrinfo(host, *arguments, **options):
        if str(host).endswith(".stuck.test"):
            pathlib.Path(os.environ["STUCK"], f"{os.getpid()}-{uuid.uuid4()}").touch()
            threading.Event().wait()
        return system(host, *arguments, **options)

    socket.getaddrinfo = getaddrinfo
"""


@pytest.fixture
def sticking(tmp_path):
    """A system whose resolver never returns for some names, and a function that counts those look-ups by process."""
    (tmp_path / "sitecustomize.py").write_text(textwrap.dedent(STICK))
    (tmp_path / "stuck").mkdir()
    settings = {
        "PYTHONPATH": str(tmp_path),
        "STUCK": str(tmp_path / "stuck"),
        "KLEIN_ALLOW_HOSTS": "127.0.0.1,localhost",
    }

    def count(process):
        return len(list((tmp_path / "stuck").glob(f"{process.pid}-*")))

    with running_parts(**settings) as running:
        yield running, count


def test_stuck_lookups_take_nothing_from_victim(sticking):
    """A key names many hosts whose look-up sticks. It holds its own slots alone: images and webhooks of another key, which name
    a host too, arrive meanwhile.
    """
    parts, count = sticking
    hosts = [f"http://n{k}.stuck.test/" for k in range(ATTACKS)]
    with (
        running_receiver() as receiver,
        parts.client(ATTACKER) as attacker,
        parts.client(VICTIM) as victim,
    ):
        for host in hosts:
            attacker.post("/v1/prediction", json=order(num_images=1) | {"webhook_url": host})
        refused = attacker.post("/v1/prediction", json=order(EDIT, image_urls=hosts[:4]))
        courier = parts.part("courier")
        until(lambda: count(courier) == MAX_PENDING_PER_OWNER, 60)
        url = re.sub(r"127\.0\.0\.1", "localhost", receiver.url)
        body = order() | {"webhook_url": url}
        assert victim.post("/v1/prediction", json=body).status_code == 200
        until(lambda: receiver.calls, 60)

        assert refused.status_code == 400
        assert count(courier) == MAX_PENDING_PER_OWNER
        assert count(parts.api) <= MAX_PENDING_PER_OWNER
