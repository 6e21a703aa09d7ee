"""Attacks on Redis: fields that no model has, the longest prompts, and lists of them."""

from tests.abuse.attacks.attack import Attack, Target
from tests.support.api_client import order

JUNK = "x" * 300_000
LONGEST = "\U0001f534" * 10_000


def _create(target: Target) -> None:
    """Create predictions with as much text as a request may have."""
    with target.client() as client:
        client.post("/v1/prediction", json=order(junk=JUNK))
        client.post("/v1/prediction", json=order(prompt=LONGEST))


def _list(target: Target) -> None:
    """Read the longest lists."""
    with target.client() as client:
        for path in ("/v1/history?limit=100", "/v1/executions?limit=100&status=success"):
            client.get(path)


ATTACKS = (
    Attack(kind="unknown fields and long prompts", run=_create, threads=2),
    Attack(kind="long lists", run=_list),
)
