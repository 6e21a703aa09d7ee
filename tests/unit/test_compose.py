"""Checks docker-compose.yml against the settings and the images. tests/acceptance/test_compose.py runs it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings

ROOT = Path(__file__).parents[2]
PUBLISH_SHARE = 0.5
"""Share of the grace period that a worker may need in addition, to store finished images."""
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OURS = {name: s for name, s in SERVICES.items() if "build" in s}
LONG_RUNNING = ["redis", "s3", *OURS]


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_every_container_is_restricted(name: str) -> None:
    """No container can write to its root file system or gain privileges."""
    service = SERVICES[name]

    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", OURS)
def test_no_container_is_killed_within_its_grace(name: str) -> None:
    """The stop grace period of each container is longer than klein needs to finish or release its work."""
    waits_s = int(OURS[name]["stop_grace_period"].removesuffix("s"))

    assert waits_s > Settings().grace.total_seconds() * (1 + PUBLISH_SHARE)


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_every_container_is_looked_after(name: str) -> None:
    """Each container restarts by itself and has a health check, of its own or of its image."""
    service = SERVICES[name]
    image = (ROOT / "Dockerfile").read_text()
    targets = image.split("\nFROM ")
    own = [t for t in targets if f" AS {service.get('build', {}).get('target')}\n" in t]

    assert service["restart"] == "unless-stopped"
    assert "healthcheck" in service or "HEALTHCHECK" in own[0] or "worker-base" in own[0]


def test_redis_keeps_what_it_acknowledges() -> None:
    """Redis syncs each write, evicts no keys, and takes its password from a variable that no process list shows."""
    command = SERVICES["redis"]["command"][-1]

    for option in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert option in command
    assert "requirepass $$REDIS_PASSWORD" in command.split("<<END")[1]
