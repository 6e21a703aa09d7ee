"""Attacks on the queue and on the places for waiters."""

from tests.abuse.attacks.attack import Attack, Target
from tests.support.api_client import order


def _fill(target: Target) -> None:
    """Create as many predictions as possible."""
    with target.client() as client:
        for _ in range(20):
            client.post("/v1/prediction", json=order(prompt="slow"))


def _wait(target: Target) -> None:
    """Wait for a prediction that does not end soon."""
    with target.client() as client:
        created = client.post("/v1/prediction", json=order(prompt="slow")).json()
        client.get(f"/v1/prediction/{created.get('id')}", params={"wait": 5})


ATTACKS = (
    Attack(kind="full queue", run=_fill, threads=2),
    Attack(kind="long polls", run=_wait, threads=20),
)
