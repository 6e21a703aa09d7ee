"""docker-compose.yml, held against the settings and the images; tests/acceptance/test_compose.py runs it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings

ROOT = Path(__file__).parents[2]
PUBLISH_SHARE = 0.5  # of the grace, on top of it, a worker may take to store what is drawn
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OURS = {name: s for name, s in SERVICES.items() if "build" in s}
KEPT = ["redis", "s3", *OURS]


@pytest.mark.parametrize("name", KEPT)
def test_every_container_is_restricted(name: str) -> None:
    """No container may write its file system, or gain rights."""
    service = SERVICES[name]

    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", OURS)
def test_no_container_is_killed_within_its_grace(name: str) -> None:
    """Each container is waited for longer than klein takes to finish or give back."""
    waits_s = int(OURS[name]["stop_grace_period"].removesuffix("s"))

    assert waits_s > Settings().grace.total_seconds() * (1 + PUBLISH_SHARE)


@pytest.mark.parametrize("name", KEPT)
def test_every_container_is_looked_after(name: str) -> None:
    """Each container is started again, and says how it is, by itself or by its image."""
    service = SERVICES[name]
    image = (ROOT / "Dockerfile").read_text()
    targets = image.split("\nFROM ")
    own = [t for t in targets if f" AS {service.get('build', {}).get('target')}\n" in t]

    assert service["restart"] == "unless-stopped"
    assert "healthcheck" in service or "HEALTHCHECK" in own[0] or "worker-base" in own[0]


def test_redis_keeps_what_it_acknowledges() -> None:
    """Redis syncs each write, throws nothing away, and asks for a password that no process list shows."""
    command = SERVICES["redis"]["command"][-1]

    for option in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert option in command
    assert "requirepass $$REDIS_PASSWORD" in command.split("<<END")[1]
