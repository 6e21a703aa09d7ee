"""Attacks through webhooks: receivers that never answer, and predictions that fail at once."""

from tests.abuse.attacks.attack import Attack, Target
from tests.support.api_client import order

SPELLINGS = ("127.0.0.1", "localhost", "LOCALHOST", "LocalHost", "localHOST")
"""Names of one host."""


def _fail_with_webhook(target: Target) -> None:
    """Create predictions that fail in the queue, each with a webhook to a host that never answers."""
    with target.client() as client:
        for port in target.silent_ports:
            for host in SPELLINGS:
                if target.stopping.is_set():
                    return
                body = order() | {"webhook_url": f"http://{host}:{port}/"}
                client.post("/v1/prediction", json=body, headers={"X-Queue-Timeout": "0.001"})


ATTACKS = (Attack(kind="webhooks", run=_fail_with_webhook),)
