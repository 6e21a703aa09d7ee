"""Checks that all places show the same version."""

import re
import tomllib
from pathlib import Path

from click.testing import CliRunner

from app.cli import main
from app.main import create_app
from app.settings import Settings

ROOT = Path(__file__).parents[2]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_command_prints_version():
    """`klein --version` prints the version of pyproject.toml."""
    result = CliRunner().invoke(main, ["--version"])

    assert result.output == f"klein, version {DECLARED}\n"


def test_openapi_document_has_version(tmp_path):
    """/openapi.json has the version of pyproject.toml."""
    app = create_app(Settings(data=tmp_path))

    assert app.openapi()["info"]["version"] == DECLARED


def test_version_is_semantic():
    """The version is MAJOR.MINOR.PATCH, with at most a pre-release suffix."""
    assert re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", DECLARED)


def test_changelog_format():
    """CHANGELOG.md has [Unreleased] on top, then dated versions, in the sections of Keep a Changelog."""
    first, *released = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)

    assert first == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", r) for r in released)
    assert f"[{DECLARED}]" in {r.split()[0] for r in released}
    assert set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE)) <= KINDS
