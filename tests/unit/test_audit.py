"""What `make audit` makes of pip-audit's findings."""

from typing import Any

from deploy.audit import report

CLEAN: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
HOLE: dict[str, Any] = {
    "name": "b",
    "version": "2",
    "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}],
}
UNKNOWN: dict[str, Any] = {"name": "c", "skip_reason": "not found on PyPI"}


def test_a_hole_fails(capsys):
    """A known hole is named with the version that has none, and fails."""
    assert report([CLEAN, HOLE]) == 1
    assert "b 2: CVE-1, fixed in 3" in capsys.readouterr().out


def test_what_was_not_looked_at_is_not_clean(capsys):
    """Packages without advisories are counted as such, visibly, and do not fail."""
    assert report([UNKNOWN, UNKNOWN]) == 0
    assert "SKIPPED: all 2 packages" in capsys.readouterr().out
    assert report([CLEAN, UNKNOWN]) == 0
    assert "not looked at: 1 of 2 packages" in capsys.readouterr().out
