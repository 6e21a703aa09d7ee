"""Checks docker-compose.yml against the settings, the images and deploy/. tests/acceptance/test_compose.py runs it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app import uploads
from app.settings import Settings

ROOT = Path(__file__).parents[2]
PUBLISH_SHARE = 0.5
"""Share of the grace period that a worker may need in addition, to store finished images."""
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OURS = {name: s for name, s in SERVICES.items() if "build" in s}
WORKERS = [name for name in OURS if name.startswith("worker")]
GPU_WORKERS = [name for name in WORKERS if name not in {"worker-cpu", "worker-rocm"}]
SECRETS = {
    "valkey": {"REDIS_API_PASSWORD", "REDIS_WORKER_PASSWORD"},
    "api": {"REDIS_API_PASSWORD", "KLEIN_API_KEYS", "KLEIN_URL_SECRET"},
    "courier": {"REDIS_WORKER_PASSWORD", "KLEIN_URL_SECRET"},
    **{name: {"REDIS_WORKER_PASSWORD", "HF_TOKEN"} for name in WORKERS},
}
"""The secrets that each part reads. The code of a part says why."""


def _variables(value: Any) -> set[str]:
    """Return the variables that compose substitutes in a value."""
    return set(re.findall(r"(?<!\$)\$\{(\w+)", str(value)))


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_restricted(name: str) -> None:
    """No container can write to its root file system, gain privileges, or fill memory, processes or disk without a limit."""
    service = SERVICES[name]

    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "caddy" else [])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"]
    assert service["mem_limit"]
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}
    assert all(re.search(r":size=\d+[mg]\b", mount) for mount in service["tmpfs"])


@pytest.mark.parametrize("name", OURS)
def test_no_container_is_killed_within_its_grace(name: str) -> None:
    """The stop grace period of each container is longer than klein needs to finish or release its work."""
    waits_s = int(OURS[name]["stop_grace_period"].removesuffix("s"))

    assert waits_s > Settings().grace.total_seconds() * (1 + PUBLISH_SHARE)


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_looked_after(name: str) -> None:
    """Each container restarts by itself and has a health check, of its own or of its image."""
    service = SERVICES[name]
    image = (ROOT / "Dockerfile").read_text()
    targets = image.split("\nFROM ")
    own = [t for t in targets if f" AS {service.get('build', {}).get('target')}\n" in t]

    assert service["restart"] == "unless-stopped"
    assert "healthcheck" in service or "HEALTHCHECK" in own[0] or "worker-base" in own[0]


@pytest.mark.parametrize("name", OURS)
def test_klein_starts_once_valkey_is_healthy(name: str) -> None:
    """Each part of klein waits for the health check of Valkey."""
    assert OURS[name]["depends_on"] == {"valkey": {"condition": "service_healthy"}}


@pytest.mark.parametrize("name", SERVICES)
def test_each_container_gets_only_the_secrets_that_it_reads(name: str) -> None:
    """The secrets of .env reach the parts that read them, and no file of secrets reaches a container."""
    script = (ROOT / "deploy" / "setup.sh").read_text()
    secrets = set(re.findall(r"^([A-Z_]+)=", script, re.MULTILINE))

    assert set.union(*SECRETS.values()) == secrets
    assert _variables(SERVICES[name]) & secrets == SECRETS.get(name, set())
    assert SERVICES[name].get("env_file", "deploy/env") == "deploy/env"


def test_no_secret_stands_in_the_settings() -> None:
    """deploy/env.example, which every part reads, has none of the secrets of .env."""
    example = (ROOT / "deploy" / "env.example").read_text()

    assert [name for name in set.union(*SECRETS.values()) if name in example] == []


def test_each_gpu_has_one_worker() -> None:
    """The profiles gpu, gpu2, gpu4 and gpu8 start as many workers, each with a GPU of its own."""
    device_of = {
        name: SERVICES[name]["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"]
        for name in GPU_WORKERS
    }

    for profile, count in {"gpu": 1, "gpu2": 2, "gpu4": 4, "gpu8": 8}.items():
        devices = [device_of[n] for n in GPU_WORKERS if profile in SERVICES[n]["profiles"]]
        assert devices == [["${KLEIN_GPU:-0}"], *([str(n)] for n in range(1, count))]


@pytest.mark.parametrize("name", ["api", *WORKERS])
def test_workers_and_api_see_the_folder_of_models(name: str) -> None:
    """Each worker, and the API, which lists LoRAs, can read deploy/models, which has the folder of LoRAs that the settings name."""
    assert "${KLEIN_MODELS:-./deploy/models}:/models:ro" in SERVICES[name]["volumes"]
    assert "KLEIN_LORAS=/models/loras" in (ROOT / "deploy" / "env.example").read_text()
    assert (ROOT / "deploy" / "models" / "loras").is_dir()


def test_uploads_fit_into_memory() -> None:
    """The temporary files of the API leave room for uploads of the largest size, within its memory limit."""
    assert SERVICES["api"]["tmpfs"] == ["/tmp:size=1g,mode=1777"]
    assert SERVICES["api"]["mem_limit"] == "2g"
    assert uploads.LARGEST_BYTES * 8 < 2**30


def test_caddy_lets_pass_what_the_api_takes() -> None:
    """Caddy accepts the largest upload and body of the API."""
    text = (ROOT / "deploy" / "caddy" / "Caddyfile").read_text()
    largest_mib = int(re.findall(r"max_size (\d+)MiB", text)[0])

    assert largest_mib * 2**20 > max(uploads.LARGEST_BYTES, Settings().body_max_bytes)
