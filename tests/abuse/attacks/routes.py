"""Floods of routes that need no key, and of keys that do not exist."""

from tests.abuse.attacks.attack import Attack, Target

OPEN = ("/metrics", "/v1/models", "/openapi.json", "/readyz")


def _flood(target: Target) -> None:
    with target.client() as client:
        for path in OPEN:
            client.get(path)


def _guess(target: Target) -> None:
    key = f"klein_{'0' * 16}_{'x' * 43}"
    with target.client() as client:
        client.get("/v1/executions", headers={"X-API-Key": key})


ATTACKS = (
    Attack(kind="open routes", run=_flood, is_of_stranger=True, threads=8),
    Attack(kind="invented keys", run=_guess, is_of_stranger=True),
)
