"""Tests of what `make audit` reports."""

from typing import Any

from tests.support.audit import report

CLEAN: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
VULNERABLE: dict[str, Any] = {
    "name": "b",
    "version": "2",
    "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}],
}
SKIPPED: dict[str, Any] = {"name": "c", "skip_reason": "not found on PyPI"}


def test_known_vulnerability_fails(capsys):
    """A known vulnerability is named with the version that fixes it, and the command fails."""
    assert report([CLEAN, VULNERABLE]) == 1
    assert "b 2: CVE-1, fixed in 3" in capsys.readouterr().out


def test_skipped_packages_are_reported(capsys):
    """Packages without advisories are reported as skipped and do not fail the command."""
    assert report([SKIPPED, SKIPPED]) == 0
    output = capsys.readouterr().out
    assert "SKIPPED: all 2 packages" in output
    assert "NOTHING WAS CHECKED" in output
    assert report([CLEAN, SKIPPED]) == 0
    output = capsys.readouterr().out
    assert "SKIPPED: 1 of 2 packages" in output
    assert "NOTHING" not in output
