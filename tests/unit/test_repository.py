"""Checks the files that editors, hooks and code hosts read."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
YAML_FILES = sorted([ROOT / ".pre-commit-config.yaml", *ROOT.glob(".github/**/*.yml")])
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("file", YAML_FILES, ids=lambda file: file.name)
def test_yaml_can_be_read(file: Path) -> None:
    """Each file is YAML and holds a mapping."""
    assert isinstance(yaml.safe_load(file.read_text()), dict)


def test_each_hook_runs_a_tool_and_files_that_exist() -> None:
    """A pre-commit hook runs what `make .venv/.dev` installs, on test files that exist."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    entries = [hook["entry"].split() for repo in config["repos"] for hook in repo["hooks"]]

    development = (ROOT / "pyproject.toml").read_text()
    packages = {"lint-imports": "import-linter"}
    for command, *arguments in entries:
        tool = command.removeprefix(".venv/bin/")
        assert f'"{packages.get(tool, tool)}>=' in development
        assert [a for a in arguments if a.startswith("tests/") and not (ROOT / a).exists()] == []


def test_the_workflow_runs_the_checks_of_the_repository() -> None:
    """The workflow calls `.ci/run`, and every make target that it names exists."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    commands = [step["run"] for step in workflow["jobs"]["ci"]["steps"] if "run" in step]

    assert ".ci/run" in commands
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert set(re.findall(r"make ([a-z-]+)", " ".join(commands))) <= set(TARGETS)


def test_the_container_starts_klein() -> None:
    """The development container runs `make up` and forwards the port of the API."""
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())

    assert container["postAttachCommand"] == "make up"
    assert container["forwardPorts"] == [8000]
