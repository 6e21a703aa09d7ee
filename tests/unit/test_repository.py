"""Checks the files that editors, hooks and code hosts read."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml

UNPUBLISHED = {"worker-rocm"}  # nobody has built it yet
ROOT = Path(__file__).parents[2]
YAML_FILES = sorted([ROOT / ".pre-commit-config.yaml", *ROOT.glob(".github/**/*.yml")])
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("file", YAML_FILES, ids=lambda file: file.name)
def test_yaml_files_are_valid(file: Path) -> None:
    """Each file is YAML and holds a mapping."""
    assert isinstance(yaml.safe_load(file.read_text()), dict)


def test_each_hook_runs_existing_tool_and_files() -> None:
    """A pre-commit hook runs what `make .venv/.dev` installs, on test files that exist."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    entries = [hook["entry"].split() for repo in config["repos"] for hook in repo["hooks"]]

    development = (ROOT / "pyproject.toml").read_text()
    packages = {"lint-imports": "import-linter"}
    for command, *arguments in entries:
        tool = command.removeprefix(".venv/bin/")
        assert f'"{packages.get(tool, tool)}>=' in development
        assert [a for a in arguments if a.startswith("tests/") and not (ROOT / a).exists()] == []


def test_workflow_runs_repository_checks() -> None:
    """The workflow calls `.ci/run`, and every make target that it names exists."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["ci"]["steps"] if "run" in step]

    assert ".ci/run" in commands
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert set(re.findall(r"make ([a-z-]+)", " ".join(commands))) <= set(TARGETS)


def test_release_publishes_images_and_wheel() -> None:
    """A tag runs CI first, then publishes the targets of compose with SBOM, provenance and labels, and the wheel."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())
    jobs = workflow["jobs"]
    actions = {
        step["uses"].partition("@")[0]: step.get("with", {})
        for job in ("wheel", "images")
        for step in jobs[job]["steps"]
        if "uses" in step
    }
    build = actions["docker/build-push-action"]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"].values()
    targets = {service["build"]["target"] for service in services if "build" in service}

    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML 1.1 reads the key `on` as true
    assert jobs["ci"]["uses"] == "./.github/workflows/ci.yml"
    assert (jobs["wheel"]["needs"], jobs["images"]["needs"]) == ("ci", "wheel")
    assert set(jobs["images"]["strategy"]["matrix"]["target"]) == targets - UNPUBLISHED
    assert build["push"]
    assert build["sbom"]
    assert build["provenance"] == "mode=max"
    assert "steps.metadata.outputs.labels" in build["labels"]
    assert "pypa/gh-action-pypi-publish" in actions


def test_renovate_pins_base_images_and_actions() -> None:
    """Renovate adds digests to images and actions, and keeps Python below the versions that torch has no wheels for."""
    config = json.loads((ROOT / "renovate.json").read_text())
    dockerfile = (ROOT / "Dockerfile").read_text()
    minor = int(re.findall(r"^ARG PYTHON=python:3\.(\d+)-", dockerfile, re.MULTILINE)[0])

    assert "docker:pinDigests" in config["extends"]
    assert "helpers:pinGitHubActionDigests" in config["extends"]
    assert [rule["allowedVersions"] for rule in config["packageRules"]] == [f"<3.{minor + 1}"]


def test_devcontainer_starts_klein() -> None:
    """The development container runs `make up` and forwards the port of the API."""
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())

    assert container["postAttachCommand"] == "make up"
    assert container["forwardPorts"] == [8000]
